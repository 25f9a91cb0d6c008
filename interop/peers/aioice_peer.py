"""A peer with the ICE agent of aioice: one stream, one component, JSON lines on stdin and stdout.

aioice gathers all its candidates before it says any, nominates aggressively unless the other is
lite, and can neither restart nor be lite itself.
"""

import argparse
import asyncio
import importlib.metadata
import json
import sys

import aioice

# How long giving back the relay may take at the end, in seconds.
CLOSING = 1


def say(**line):
    print(json.dumps(line), flush=True)


class Connection(aioice.Connection):
    """Says which pair is nominated, as soon as it is and whenever another is."""

    # aioice has no public way to the pair: it is that of the only component, 1.
    said = None

    def check_complete(self, pair):
        super().check_complete(pair)
        selected = self._nominated.get(1)
        if selected is not None and selected is not self.said:
            self.said = selected
            say(
                connected={
                    "local": selected.local_candidate.type,
                    "remote": selected.remote_candidate.type,
                }
            )


class Peer:
    def __init__(self, ice):
        self.ice = ice
        self.tasks = set()
        self.negotiating = False
        say(ufrag=ice.local_username, pwd=ice.local_password)
        self.gathering = self.start(self.gather())

    def start(self, work):
        # The event loop itself keeps no task alive.
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            say(error=f"{type(task.exception()).__name__}: {task.exception()}")

    async def gather(self):
        await self.ice.gather_candidates()
        for candidate in self.ice.local_candidates:
            say(candidate=f"candidate:{candidate.to_sdp()}")
        say(candidate="")

    async def negotiate(self):
        await asyncio.wait([self.gathering])
        try:
            await self.ice.connect()
        except ConnectionError:
            say(state="failed")
            return
        # aioice closes what has lost its consent, and that ends `recv`.
        try:
            while True:
                self.hear(await self.ice.recv())
        except ConnectionError:
            say(state="failed")

    def hear(self, data):
        try:
            say(heard=data.decode())
        except UnicodeDecodeError:
            say(error=f"a datagram of {len(data)} bytes is not UTF-8")

    async def told(self, line):
        try:
            line = json.loads(line)
            if not isinstance(line, dict):
                say(error="not an object")
            elif line.get("restart"):
                say(error="aioice cannot restart")
            elif "ufrag" in line:
                self.credentials(str(line["ufrag"]), str(line["pwd"]), bool(line.get("lite")))
            elif "candidate" in line:
                await self.candidate(str(line["candidate"]))
            elif "say" in line:
                await self.ice.send(str(line["say"]).encode())
            else:
                raise ValueError("no known key")
        except (ConnectionError, KeyError, ValueError) as error:
            say(error=f"{type(error).__name__}: {error}")

    def credentials(self, ufrag, pwd, lite):
        if self.negotiating:
            raise ValueError("the other's credentials are known, and aioice cannot restart")
        self.negotiating = True
        self.ice.remote_username = ufrag
        self.ice.remote_password = pwd
        self.ice.remote_is_lite = lite
        self.start(self.negotiate())

    async def candidate(self, text):
        if not text:
            await self.ice.add_remote_candidate(None)
            return
        candidate = aioice.Candidate.from_sdp(text.removeprefix("candidate:"))
        if candidate.component != 1 or candidate.transport.lower() != "udp":
            raise ValueError(f"not UDP of component 1: {text}")
        if "%" in candidate.host or not 0 < candidate.port < 65536:
            raise ValueError(f"an address with a zone, or no port: {text}")
        # A name is asked for by multicast, and the lines do not wait for the answer.
        if candidate.host.endswith(".local"):
            self.start(self.add(candidate))
        else:
            await self.add(candidate)

    async def add(self, candidate):
        await self.ice.add_remote_candidate(candidate)
        # aioice logs what it does not take, and goes on.
        address = (candidate.host, candidate.port)
        if address not in ((taken.host, taken.port) for taken in self.ice.remote_candidates):
            say(error=f"aioice did not take candidate:{candidate.to_sdp()}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["controlling", "controlled"], required=True)
    parser.add_argument("--family", choices=["4", "6"])
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--relay", metavar="HOST:PORT,USER,PASSWORD")
    given = parser.parse_args()
    if given.lite:
        parser.error("aioice cannot be lite")
    agent = {
        "ice_controlling": given.role == "controlling",
        "use_ipv4": given.family != "6",
        "use_ipv6": given.family != "4",
    }
    if given.relay is not None:
        if given.family == "6":
            parser.error("aioice asks TURN servers for IPv4 addresses only")
        try:
            server, user, password = given.relay.split(",", 2)
            host, port = server.rsplit(":", 1)
            agent["turn_server"] = (host.strip("[]"), int(port))
        except ValueError:
            parser.error("--relay takes HOST:PORT,USER,PASSWORD")
        agent["turn_username"] = user
        agent["turn_password"] = password
        agent["transport_policy"] = aioice.TransportPolicy.RELAY
    return agent


async def main(agent):
    say(version=f"aioice {importlib.metadata.version('aioice')}")
    ice = Connection(**agent)
    peer = Peer(ice)
    loop = asyncio.get_running_loop()
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    # A thread waits for the lines: an event loop reads pipes only.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await peer.told(line)
    for task in peer.tasks:
        task.remove_done_callback(peer.ended)
    if ice.turn_server is not None:
        await asyncio.wait([asyncio.create_task(ice.close())], timeout=CLOSING)


if __name__ == "__main__":
    asyncio.run(main(arguments()))
