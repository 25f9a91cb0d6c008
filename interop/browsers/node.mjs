// The page in Node: its document from jsdom, its WebRTC the libwebrtc of @roamhq/wrtc. What page.mjs asks of a browser.
import fs from "node:fs";
import { JSDOM, VirtualConsole } from "jsdom";
import wrtc from "@roamhq/wrtc";

const version = (name) => JSON.parse(fs.readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;

// As browsers have it: without a description it is the one that is due, and an offer takes the place of one's own.
class PeerConnection extends wrtc.RTCPeerConnection {
  async setLocalDescription(description) {
    const due = () => (this.signalingState === "have-remote-offer" ? this.createAnswer() : this.createOffer());
    return super.setLocalDescription(description ?? await due());
  }
  async setRemoteDescription(description) {
    if (description.type === "offer" && this.signalingState === "have-local-offer") await super.setLocalDescription({ type: "rollback" });
    return super.setRemoteDescription(description);
  }
}

class Page {
  heard = { console: () => {}, pageerror: () => {} };
  on(what, hear) { this.heard[what] = hear; }
  async goto(url) {
    const kept = this.window ? Object.entries(this.window.sessionStorage) : [];
    const virtualConsole = new VirtualConsole();
    virtualConsole.on("log", (text) => this.heard.console({ text: () => text }));
    virtualConsole.on("jsdomError", (error) => this.heard.pageerror(error));
    const beforeParse = (window) => {
      window.RTCPeerConnection = PeerConnection;
      for (const [name, value] of kept) window.sessionStorage.setItem(name, value);
    };
    this.window = (await JSDOM.fromURL(url, { runScripts: "dangerously", pretendToBeVisual: true, virtualConsole, beforeParse })).window;
  }
  async reload() {
    const { window } = this;
    // Nobody else ends its connections.
    window.eval("call?.pc.close()");
    const url = window.location.href;
    await this.goto(url);
    window.close();
  }
  async evaluate(work, ...given) { return this.window.eval(`(${work})(...${JSON.stringify(given)})`); }
  async $eval(selector, work, value) { return work(this.window.document.querySelector(selector), value); }
  async click(selector) { this.window.document.querySelector(selector).click(); }
}

export const browser = {
  version: async () => `libwebrtc of @roamhq/wrtc ${version("@roamhq/wrtc")} in Node`,
  newPage: async () => new Page(),
  process: () => ({ kill: (signal) => process.kill(process.pid, signal) }),
};
