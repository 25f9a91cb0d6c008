// A real browser at a page of `floe serve`, driven by lines on stdin; what it shows comes as JSON lines on stdout.
//
//   node page.mjs chromium|firefox URL [raw]
//
// `raw` lets the browser tell its addresses instead of mDNS names. Orders: `say TEXT`, `stats`, `restart`, `reload`,
// `look FILE WIDTH HEIGHT`, `crash`, `quit`. Events: {"status"}, {"log"}, {"channel"} as they change; {"stats"} when asked.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import puppeteer from "puppeteer-core";

const [kind, url, raw] = process.argv.slice(2);
const tell = (object) => console.log(JSON.stringify(object));
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "floe-browser-"));

// Nothing but the page: no updates, no telemetry, no captive portals.
const options = {
  chromium: {
    browser: "chrome",
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
      "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
      ...(raw ? ["--disable-features=WebRtcHideLocalIpsWithMdns"] : [])],
    // Its own list of features would take the place of ours.
    ignoreDefaultArgs: ["--disable-features"],
  },
  firefox: {
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: {
      "app.update.enabled": false,
      "browser.safebrowsing.malware.enabled": false,
      "media.peerconnection.ice.obfuscate_host_addresses": !raw,
      "network.captive-portal-service.enabled": false,
      "network.connectivity-service.enabled": false,
      "toolkit.telemetry.enabled": false,
    },
  },
}[kind];
const browser = await puppeteer.launch({ ...options, headless: true, userDataDir: profile });
const finish = async (code) => {
  // A farewell takes some browsers seconds, and there is nothing to save.
  browser.process()?.kill("SIGKILL");
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  process.exit(code);
};
process.on("SIGTERM", () => finish(1));

const page = await browser.newPage();
tell({ version: await browser.version() });
page.on("pageerror", (error) => tell({ error: error.message }));

// What the page shows is what a person sees: it is read from the document.
const watch = () => page.evaluate(() => {
  const show = (what, value) => console.log(`floe ${JSON.stringify({ [what]: value, at: Math.round(performance.now()) })}`);
  const look = (id, what, read) => {
    const node = document.getElementById(id);
    const tell = () => show(what, read(node));
    new MutationObserver(tell).observe(node, { childList: true, characterData: true, attributes: true, subtree: true });
    tell();
  };
  look("status", "status", (node) => node.textContent.trim());
  look("ice", "ice", (node) => node.textContent);
  look("text", "channel", (node) => !node.disabled);
  let seen = 0;
  const log = document.getElementById("log");
  const lines = () => { for (; seen < log.children.length; seen += 1) show("log", { who: log.children[seen].className, text: log.children[seen].textContent }); };
  new MutationObserver(lines).observe(log, { childList: true });
  lines();
});
page.on("console", (message) => { const text = message.text(); if (text.startsWith("floe ")) console.log(text.slice(5)); });
const open = async (load) => {
  await load();
  await watch();
};
await open(() => page.goto(url));

const orders = {
  say: async (text) => {
    await page.$eval("#text", (input, value) => { input.value = value; }, text);
    await page.click("#send");
  },
  restart: () => page.click("#restart"),
  reload: () => open(() => page.reload()),
  look: async (rest) => {
    const [file, width, height] = rest.split(" ");
    await page.setViewport({ width: Number(width), height: Number(height) });
    await page.screenshot({ path: file });
    tell({ looked: file });
  },
  stats: async () => {
    // Browsers keep an answer for a moment.
    await new Promise((done) => setTimeout(done, 200));
    tell({ stats: await page.evaluate(async () => {
    const all = [...(await call.pc.getStats()).values()];
    const by = (id) => all.find((one) => one.id === id);
    const chosen = all.find((one) => one.type === "transport")?.selectedCandidatePairId;
    const pair = all.find((one) => one.type === "candidate-pair" && (chosen ? one.id === chosen : one.selected));
    const end = (one) => one && { type: one.candidateType, address: one.address ?? one.ip ?? null, port: one.port };
    return pair ? { local: end(by(pair.localCandidateId)), remote: end(by(pair.remoteCandidateId)), rtt: pair.currentRoundTripTime, state: call.pc.iceConnectionState, sdp: call.pc.localDescription.sdp } : null;
    }) });
  },
  // Ends without a farewell, as when the power goes.
  crash: () => { browser.process()?.kill("SIGKILL"); setTimeout(() => finish(0), 60000); },
  quit: () => finish(0),
};
// One after the other: each has a mouse to move.
let queue = Promise.resolve();
const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => {
  const [order, ...rest] = line.split(" ");
  queue = queue.then(() => orders[order](rest.join(" "))).catch((error) => tell({ error: error.message }));
});
input.on("close", () => finish(0));
