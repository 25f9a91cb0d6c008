/* A peer with the ICE agent of libnice: one stream, one component, JSON lines on stdin and stdout.
 *
 * libnice keeps its sockets and candidates at a restart, so they are said again. */

#include <gio/gio.h>
#include <gio/gunixinputstream.h>
#include <json-glib/json-glib.h>
#include <nice/agent.h>
#include <nice/interfaces.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPONENT 1

/* How long giving back the relay may take at the end, in milliseconds. */
#define CLOSING 1000

typedef struct {
    GMainLoop *loop;
    NiceAgent *agent;
    guint stream;
    GDataInputStream *lines;
    gboolean relay;
    /* The credentials of the other for this session of ICE are known. */
    gboolean answered;
    /* The pair of this session has been said. */
    gboolean said;
} Peer;

static void print_object(JsonNode *object) {
    gchar *text = json_to_string(object, FALSE);
    puts(text);
    fflush(stdout);
    g_free(text);
    json_node_unref(object);
}

static JsonNode *object_of(const char *key, JsonNode *value) {
    JsonObject *object = json_object_new();
    json_object_set_member(object, key, value);
    JsonNode *node = json_node_init_object(json_node_alloc(), object);
    json_object_unref(object);
    return node;
}

static JsonNode *string_node(const char *text) {
    return json_node_init_string(json_node_alloc(), text);
}

static void say(const char *key, const char *text) {
    print_object(object_of(key, string_node(text)));
}

/* Two strings under the keys `first` and `second`, themselves under `key` if there is one. */
static void say_two(const char *key, const char *first, const char *one, const char *second,
                    const char *two) {
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, first, one);
    json_object_set_string_member(object, second, two);
    JsonNode *node = json_node_init_object(json_node_alloc(), object);
    json_object_unref(object);
    print_object(key ? object_of(key, node) : node);
}

static void complain(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    gchar *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    say("error", text);
    g_free(text);
}

static void refuse(const char *why) {
    fprintf(stderr, "nice_peer: %s\n", why);
    exit(2);
}

static void say_credentials(Peer *peer) {
    gchar *ufrag = NULL, *pwd = NULL;
    if (nice_agent_get_local_credentials(peer->agent, peer->stream, &ufrag, &pwd))
        say_two(NULL, "ufrag", ufrag, "pwd", pwd);
    else
        complain("libnice has no credentials");
    g_free(ufrag);
    g_free(pwd);
}

static void say_candidate(Peer *peer, NiceCandidate *candidate) {
    if (peer->relay && candidate->type != NICE_CANDIDATE_TYPE_RELAYED)
        return;
    gchar *text = nice_agent_generate_local_candidate_sdp(peer->agent, candidate);
    say("candidate", text + strlen("a="));
    g_free(text);
}

static void say_selected(Peer *peer) {
    NiceCandidate *local, *remote;
    if (!nice_agent_get_selected_pair(peer->agent, peer->stream, COMPONENT, &local, &remote))
        return;
    static const char *const types[] = {
        [NICE_CANDIDATE_TYPE_HOST] = "host",
        [NICE_CANDIDATE_TYPE_SERVER_REFLEXIVE] = "srflx",
        [NICE_CANDIDATE_TYPE_PEER_REFLEXIVE] = "prflx",
        [NICE_CANDIDATE_TYPE_RELAYED] = "relay",
    };
    peer->said = TRUE;
    say_two("connected", "local", types[local->type], "remote", types[remote->type]);
}

static void on_candidate(NiceAgent *agent, NiceCandidate *candidate, gpointer peer) {
    (void)agent;
    say_candidate(peer, candidate);
}

static void on_gathered(NiceAgent *agent, guint stream, gpointer peer) {
    (void)agent, (void)stream, (void)peer;
    say("candidate", "");
}

static void on_selected(NiceAgent *agent, guint stream, guint component, NiceCandidate *local,
                        NiceCandidate *remote, gpointer peer) {
    (void)agent, (void)stream, (void)component, (void)local, (void)remote;
    say_selected(peer);
}

static void on_state(NiceAgent *agent, guint stream, guint component, guint state, gpointer data) {
    (void)agent, (void)stream, (void)component;
    Peer *peer = data;
    if (state == NICE_COMPONENT_STATE_FAILED)
        say("state", "failed");
    else if (state == NICE_COMPONENT_STATE_DISCONNECTED)
        say("state", "disconnected");
    else if (state == NICE_COMPONENT_STATE_READY && !peer->said)
        say_selected(peer); /* After a restart it may be the pair of before. */
}

static void on_datagram(NiceAgent *agent, guint stream, guint component, guint length,
                        gchar *datagram, gpointer peer) {
    (void)agent, (void)stream, (void)component, (void)peer;
    if (g_utf8_validate_len(datagram, length, NULL)) {
        gchar *text = g_strndup(datagram, length);
        say("heard", text);
        g_free(text);
    } else {
        complain("a datagram of %u bytes is not UTF-8", length);
    }
}

static void restart(Peer *peer) {
    if (!nice_agent_restart(peer->agent)) {
        complain("libnice has not restarted");
        return;
    }
    peer->answered = FALSE;
    peer->said = FALSE;
    say_credentials(peer);
    GSList *candidates =
        nice_agent_get_local_candidates(peer->agent, peer->stream, COMPONENT);
    for (GSList *each = candidates; each; each = each->next)
        say_candidate(peer, each->data);
    g_slist_free_full(candidates, (GDestroyNotify)nice_candidate_free);
    say("candidate", "");
}

static void take_credentials(Peer *peer, const char *ufrag, const char *pwd) {
    if (peer->answered)
        complain("the other's credentials are known, and nobody has restarted");
    else if (nice_agent_set_remote_credentials(peer->agent, peer->stream, ufrag, pwd))
        peer->answered = TRUE;
    else
        complain("libnice did not take the credentials");
}

static void take_candidate(Peer *peer, const char *text) {
    if (!*text) {
        nice_agent_peer_candidate_gathering_done(peer->agent, peer->stream);
        return;
    }
    gchar *line = g_strconcat("a=", text, NULL);
    /* A name is not for libnice, and it reads zones but loses them. */
    NiceCandidate *candidate =
        strchr(text, '%') ? NULL
                          : nice_agent_parse_remote_candidate_sdp(peer->agent, peer->stream, line);
    g_free(line);
    if (!candidate) {
        complain("libnice cannot read %s", text);
        return;
    }
    if (candidate->component_id != COMPONENT ||
        candidate->transport != NICE_CANDIDATE_TRANSPORT_UDP) {
        complain("not UDP of component 1: %s", text);
    } else {
        GSList *one = g_slist_prepend(NULL, candidate);
        if (nice_agent_set_remote_candidates(peer->agent, peer->stream, COMPONENT, one) < 1)
            complain("libnice did not take %s", text);
        g_slist_free(one);
    }
    nice_candidate_free(candidate);
}

static void send_text(Peer *peer, const char *text) {
    gint length = (gint)strlen(text);
    if (nice_agent_send(peer->agent, peer->stream, COMPONENT, (guint)length, text) != length)
        complain("libnice has not sent the %d bytes", length);
}

/* The string under `key`, or NULL. */
static const char *string_of(JsonObject *object, const char *key) {
    JsonNode *node = json_object_get_member(object, key);
    return node && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node)
                                                                   : NULL;
}

static void told(Peer *peer, JsonObject *line) {
    JsonNode *again = json_object_get_member(line, "restart");
    gboolean restarted = again && json_node_get_value_type(again) == G_TYPE_BOOLEAN &&
                         json_node_get_boolean(again);
    const char *ufrag = string_of(line, "ufrag"), *pwd = string_of(line, "pwd");
    const char *candidate = string_of(line, "candidate"), *text = string_of(line, "say");
    if (restarted)
        restart(peer);
    if (ufrag && pwd)
        take_credentials(peer, ufrag, pwd);
    else if (candidate)
        take_candidate(peer, candidate);
    else if (text)
        send_text(peer, text);
    else if (!restarted)
        complain("no known key");
}

static gboolean on_closing_late(gpointer peer) {
    g_main_loop_quit(((Peer *)peer)->loop);
    return G_SOURCE_REMOVE;
}

static void on_closed(GObject *agent, GAsyncResult *result, gpointer peer) {
    (void)agent, (void)result;
    g_main_loop_quit(((Peer *)peer)->loop);
}

static void end(Peer *peer) {
    g_signal_handlers_disconnect_by_data(peer->agent, peer);
    if (peer->relay) {
        g_timeout_add(CLOSING, on_closing_late, peer);
        nice_agent_close_async(peer->agent, on_closed, peer);
    } else {
        g_main_loop_quit(peer->loop);
    }
}

static void on_line(GObject *lines, GAsyncResult *result, gpointer data) {
    Peer *peer = data;
    char *text = g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(lines), result, NULL,
                                                      NULL);
    if (!text) {
        end(peer);
        return;
    }
    GError *error = NULL;
    JsonNode *line = json_from_string(text, &error);
    if (error) {
        complain("%s", error->message);
        g_error_free(error);
    } else if (!line || !JSON_NODE_HOLDS_OBJECT(line)) {
        complain("not an object");
    } else {
        told(peer, json_node_get_object(line));
    }
    g_clear_pointer(&line, json_node_unref);
    g_free(text);
    g_data_input_stream_read_line_async(peer->lines, G_PRIORITY_DEFAULT, NULL, on_line, peer);
}

/* Gathers from the addresses of this family only. */
static void keep_to_family(NiceAgent *agent, int family) {
    gboolean any = FALSE;
    GList *addresses = nice_interfaces_get_local_ips(FALSE);
    for (GList *each = addresses; each; each = each->next) {
        NiceAddress address;
        if (nice_address_set_from_string(&address, each->data) &&
            nice_address_ip_version(&address) == family)
            any |= nice_agent_add_local_address(agent, &address);
    }
    g_list_free_full(addresses, g_free);
    if (!any) {
        complain("no address of family %d", family);
        exit(1);
    }
}

static void use_relay(Peer *peer, const char *relay) {
    gchar **fields = g_strsplit(relay, ",", 3);
    gchar *colon = fields[0] ? strrchr(fields[0], ':') : NULL;
    guint64 port = 0;
    if (g_strv_length(fields) != 3 || !colon ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL))
        refuse("--relay takes HOST:PORT,USER,PASSWORD");
    *colon = '\0';
    gchar *host = fields[0];
    if (*host == '[' && g_str_has_suffix(host, "]")) {
        host[strlen(host) - 1] = '\0';
        host++;
    }
    g_object_set(peer->agent, "force-relay", TRUE, NULL);
    if (!nice_agent_set_relay_info(peer->agent, peer->stream, COMPONENT, host, (guint)port,
                                   fields[1], fields[2], NICE_RELAY_TYPE_TURN_UDP))
        refuse("libnice takes no such TURN server");
    g_strfreev(fields);
}

int main(int argc, char **argv) {
    gchar *role = NULL, *relay = NULL;
    gint family = 0;
    gboolean lite = FALSE;
    const GOptionEntry entries[] = {
        {"role", 0, 0, G_OPTION_ARG_STRING, &role, "controlling or controlled", "ROLE"},
        {"family", 0, 0, G_OPTION_ARG_INT, &family, "addresses of this family only", "4|6"},
        {"lite", 0, 0, G_OPTION_ARG_NONE, &lite, "be lite", NULL},
        {"relay", 0, 0, G_OPTION_ARG_STRING, &relay, "the TURN server to relay at",
         "HOST:PORT,USER,PASSWORD"},
        {0},
    };
    GOptionContext *context = g_option_context_new(NULL);
    g_option_context_add_main_entries(context, entries, NULL);
    GError *error = NULL;
    if (!g_option_context_parse(context, &argc, &argv, &error))
        refuse(error->message);
    g_option_context_free(context);
    gboolean controlling = g_strcmp0(role, "controlling") == 0;
    if (argc != 1 || (!controlling && g_strcmp0(role, "controlled") != 0))
        refuse("--role takes controlling or controlled, and nothing is left over");
    if (family != 0 && family != 4 && family != 6)
        refuse("--family takes 4 or 6");
    if (relay && lite)
        refuse("who is lite has host candidates only");
    if (relay && family == 6)
        refuse("libnice asks TURN servers for IPv4 addresses only");

    say("version", "libnice " LIBNICE);
    Peer peer = {.loop = g_main_loop_new(NULL, FALSE), .relay = relay != NULL};
    peer.agent = nice_agent_new_full(
        NULL, NICE_COMPATIBILITY_RFC5245,
        NICE_AGENT_OPTION_REGULAR_NOMINATION | NICE_AGENT_OPTION_ICE_TRICKLE |
            NICE_AGENT_OPTION_CONSENT_FRESHNESS | (lite ? NICE_AGENT_OPTION_LITE_MODE : 0));
    g_object_set(peer.agent, "controlling-mode", controlling, "ice-tcp", FALSE, "upnp", FALSE,
                 NULL);
    if (family)
        keep_to_family(peer.agent, family);
    peer.stream = nice_agent_add_stream(peer.agent, COMPONENT);
    nice_agent_set_stream_name(peer.agent, peer.stream, "application");
    if (relay)
        use_relay(&peer, relay);
    g_signal_connect(peer.agent, "new-candidate-full", G_CALLBACK(on_candidate), &peer);
    g_signal_connect(peer.agent, "candidate-gathering-done", G_CALLBACK(on_gathered), &peer);
    g_signal_connect(peer.agent, "new-selected-pair-full", G_CALLBACK(on_selected), &peer);
    g_signal_connect(peer.agent, "component-state-changed", G_CALLBACK(on_state), &peer);
    nice_agent_attach_recv(peer.agent, peer.stream, COMPONENT, NULL, on_datagram, &peer);

    say_credentials(&peer);
    if (!nice_agent_gather_candidates(peer.agent, peer.stream)) {
        complain("libnice cannot gather");
        return 1;
    }
    GInputStream *stdin_bytes = g_unix_input_stream_new(STDIN_FILENO, FALSE);
    peer.lines = g_data_input_stream_new(stdin_bytes);
    g_data_input_stream_set_newline_type(peer.lines, G_DATA_STREAM_NEWLINE_TYPE_LF);
    g_data_input_stream_read_line_async(peer.lines, G_PRIORITY_DEFAULT, NULL, on_line, &peer);
    g_main_loop_run(peer.loop);
    return 0;
}
