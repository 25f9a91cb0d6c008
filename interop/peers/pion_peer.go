// A peer with the ICE agent of pion: one stream, one component, JSON lines on stdin and stdout.
//
// pion keeps to the role it is given, whatever the other's is, and gathers anew at a restart: the
// pair of before is gone at once.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pion/ice/v2"
	"github.com/pion/logging"
)

// The version of pion/ice, which the linker fills in: a build without modules does not know it.
var version = "unknown"

// How long giving back the relay may take at the end.
const closing = time.Second

type line struct {
	Ufrag     *string `json:"ufrag"`
	Pwd       *string `json:"pwd"`
	Restart   bool    `json:"restart"`
	Candidate *string `json:"candidate"`
	Say       *string `json:"say"`
}

type object map[string]interface{}

var stdout sync.Mutex

func say(what object) {
	text, err := json.Marshal(what)
	if err != nil {
		panic(err) // It is made of strings.
	}
	stdout.Lock()
	defer stdout.Unlock()
	fmt.Println(string(text))
}

func complain(err error) {
	if err != nil {
		say(object{"error": err.Error()})
	}
}

func refuse(why string) {
	fmt.Fprintln(os.Stderr, "pion_peer:", why)
	os.Exit(2)
}

type peer struct {
	agent       *ice.Agent
	controlling bool
	// The checks have been started, with the first credentials of the other.
	started bool
	// The credentials of the other for this session of ICE are known.
	answered bool
	// Dial or Accept has returned with conn.
	open chan struct{}
	conn *ice.Conn
	// One value each time gathering has ended.
	gathered chan struct{}
}

func newPeer(config *ice.AgentConfig, controlling bool) (*peer, error) {
	agent, err := ice.NewAgent(config)
	if err != nil {
		return nil, err
	}
	p := &peer{
		agent: agent, controlling: controlling,
		open: make(chan struct{}), gathered: make(chan struct{}, 1),
	}
	if err := agent.OnCandidate(p.onCandidate); err != nil {
		return nil, err
	}
	if err := agent.OnSelectedCandidatePairChange(p.onSelected); err != nil {
		return nil, err
	}
	return p, agent.OnConnectionStateChange(onState)
}

func (p *peer) onCandidate(c ice.Candidate) {
	if c == nil {
		say(object{"candidate": ""})
		p.gathered <- struct{}{}
		return
	}
	say(object{"candidate": "candidate:" + c.Marshal()})
}

func (p *peer) onSelected(local, remote ice.Candidate) {
	<-p.open // From here on datagrams can be sent.
	say(object{"connected": object{
		"local": local.Type().String(), "remote": remote.Type().String(),
	}})
}

func onState(state ice.ConnectionState) {
	switch state {
	case ice.ConnectionStateDisconnected:
		say(object{"state": "disconnected"})
	case ice.ConnectionStateFailed:
		say(object{"state": "failed"})
	}
}

// Says the credentials, then gathers.
func (p *peer) begin() error {
	ufrag, pwd, err := p.agent.GetLocalUserCredentials()
	if err != nil {
		return err
	}
	say(object{"ufrag": ufrag, "pwd": pwd})
	return p.agent.GatherCandidates()
}

func (p *peer) restart() error {
	<-p.gathered // One gathering at a time: pion mixes up the ends of two.
	if err := p.agent.Restart("", ""); err != nil {
		return err
	}
	p.answered = false
	return p.begin()
}

func (p *peer) credentials(ufrag, pwd string) error {
	if p.answered {
		return errors.New("the other's credentials are known, and nobody has restarted")
	}
	p.answered = true
	if p.started {
		return p.agent.SetRemoteCredentials(ufrag, pwd)
	}
	p.started = true
	go p.connect(ufrag, pwd)
	return nil
}

func (p *peer) connect(ufrag, pwd string) {
	start := p.agent.Accept
	if p.controlling {
		start = p.agent.Dial
	}
	conn, err := start(context.Background(), ufrag, pwd)
	if err != nil {
		complain(err)
		return
	}
	p.conn = conn
	close(p.open)
	datagram := make([]byte, 1<<16)
	for {
		n, err := conn.Read(datagram)
		if err != nil {
			complain(err)
			return
		}
		if utf8.Valid(datagram[:n]) {
			say(object{"heard": string(datagram[:n])})
		} else {
			complain(fmt.Errorf("a datagram of %d bytes is not UTF-8", n))
		}
	}
}

func (p *peer) candidate(text string) error {
	if text == "" {
		return nil // pion does not ask for the end of the other's candidates.
	}
	c, err := ice.UnmarshalCandidate(strings.TrimPrefix(text, "candidate:"))
	if err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if c.Component() != ice.ComponentRTP || !c.NetworkType().IsUDP() {
		return fmt.Errorf("not UDP of component 1: %s", text)
	}
	return p.agent.AddRemoteCandidate(c)
}

func (p *peer) send(text string) error {
	// pion drops, without an error, what it has no pair for.
	pair, err := p.agent.GetSelectedCandidatePair()
	if err != nil {
		return err
	}
	if pair == nil {
		return errors.New("no pair is selected")
	}
	<-p.open
	_, err = p.conn.Write([]byte(text))
	return err
}

func (p *peer) told(text []byte) error {
	var told line
	if err := json.Unmarshal(text, &told); err != nil {
		return err
	}
	if told.Restart {
		if err := p.restart(); err != nil {
			return err
		}
	}
	switch {
	case told.Ufrag != nil && told.Pwd != nil:
		return p.credentials(*told.Ufrag, *told.Pwd)
	case told.Candidate != nil:
		return p.candidate(*told.Candidate)
	case told.Say != nil:
		return p.send(*told.Say)
	case told.Restart:
		return nil
	}
	return errors.New("no known key")
}

func turnServer(relay string) *ice.URL {
	fields := strings.SplitN(relay, ",", 3)
	colon := strings.LastIndex(fields[0], ":")
	if len(fields) != 3 || colon < 0 {
		refuse("--relay takes HOST:PORT,USER,PASSWORD")
	}
	host := fields[0][:colon]
	port, err := strconv.ParseUint(fields[0][colon+1:], 10, 16)
	if err != nil {
		refuse("--relay takes HOST:PORT,USER,PASSWORD")
	}
	if strings.Contains(host, ":") {
		refuse("pion speaks with TURN servers over IPv4 only")
	}
	return &ice.URL{
		Scheme: ice.SchemeTypeTURN, Proto: ice.ProtoTypeUDP,
		Host: host, Port: int(port), Username: fields[1], Password: fields[2],
	}
}

func arguments() (*ice.AgentConfig, bool) {
	role := flag.String("role", "", "controlling or controlled")
	family := flag.String("family", "", "4 or 6: addresses of this family only")
	lite := flag.Bool("lite", false, "be lite")
	relay := flag.String("relay", "", "HOST:PORT,USER,PASSWORD of the TURN server to relay at")
	flag.Parse()
	if flag.NArg() != 0 || (*role != "controlling" && *role != "controlled") {
		refuse("--role takes controlling or controlled, and nothing is left over")
	}

	logs := logging.NewDefaultLoggerFactory()
	logs.Writer = os.Stderr // By default it is stdout, which has the lines.
	config := &ice.AgentConfig{LoggerFactory: logs, Lite: *lite}
	switch *family {
	case "":
		config.NetworkTypes = []ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}
	case "4":
		config.NetworkTypes = []ice.NetworkType{ice.NetworkTypeUDP4}
	case "6":
		config.NetworkTypes = []ice.NetworkType{ice.NetworkTypeUDP6}
	default:
		refuse("--family takes 4 or 6")
	}
	config.CandidateTypes = []ice.CandidateType{ice.CandidateTypeHost}
	if *relay != "" {
		if *lite {
			refuse("who is lite has host candidates only")
		}
		if *family == "6" {
			refuse("pion asks TURN servers for IPv4 addresses only")
		}
		config.CandidateTypes = []ice.CandidateType{ice.CandidateTypeRelay}
		config.Urls = []*ice.URL{turnServer(*relay)}
	}
	return config, *role == "controlling"
}

func main() {
	config, controlling := arguments()
	say(object{"version": "pion/ice " + version})
	p, err := newPeer(config, controlling)
	if err == nil {
		err = p.begin()
	}
	if err != nil {
		complain(err)
		os.Exit(1)
	}
	stdin := bufio.NewReader(os.Stdin)
	for {
		text, err := stdin.ReadBytes('\n')
		if err != nil {
			break
		}
		complain(p.told(text))
	}
	stdout.Lock() // What the end breaks is not said.
	if len(config.Urls) > 0 {
		time.AfterFunc(closing, func() { os.Exit(0) })
		_ = p.agent.Close()
	}
}
