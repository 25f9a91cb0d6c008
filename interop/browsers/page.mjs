// A real browser at a page of `floe serve`, driven by lines on stdin; what it shows comes as JSON lines on stdout.
//
//   node page.mjs chromium|firefox|node URL [raw]
//
// `node` is none: see node.mjs. `raw` lets the browser tell its addresses instead of mDNS names. Orders: `say TEXT`, `stats`, `restart`, `close`,
// `reload`, `late MS`, `slow MS`, `look FILE WIDTH HEIGHT`, `crash`, `quit`. Events: {"status"}, {"log"}, {"channel"} as they change; {"stats"} when asked.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import puppeteer from "puppeteer-core";

const [kind, url, raw] = process.argv.slice(2);
const tell = (object) => console.log(JSON.stringify(object));
const profile = kind === "node" ? null : fs.mkdtempSync(path.join(os.tmpdir(), "floe-browser-"));

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
const attempt = async (tries, work) => {
  try {
    return await work();
  } catch (error) {
    if (tries === 1) throw error;
    tell({ error: error.message });
    await new Promise((done) => setTimeout(done, 300));
    return attempt(tries - 1, work);
  }
};
const launch = async () => (kind === "node" ? (await import("./node.mjs")).browser
  : puppeteer.launch({ ...options, headless: true, userDataDir: profile, timeout: 25000 }));
// On a machine that has more to do some do not come up in time.
const browser = await attempt(3, launch);
const finish = async (code) => {
  // A farewell takes some browsers seconds, and there is nothing to save.
  browser.process()?.kill("SIGKILL");
  // Its other processes write for a moment.
  for (let tries = 0; tries < 40; tries += 1) {
    try {
      fs.rmSync(profile, { recursive: true, force: true });
      break;
    } catch { await new Promise((done) => setTimeout(done, 50)); }
  }
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
// Chromium gives up what it loads when it sees an address of the host appear, which it may do for a
// second after its start.
const open = (load) => attempt(10, async () => {
  await load();
  await watch();
});
await open(() => page.goto(url));

const orders = {
  say: async (text) => {
    await page.$eval("#text", (input, value) => { input.value = value; }, text);
    await page.click("#send");
  },
  restart: () => page.click("#restart"),
  close: () => page.evaluate(() => call.channel.close()),
  reload: () => open(() => page.reload()),
  // The next answer is heard so much later, as by a page that has more to do.
  late: (ms) => page.evaluate((ms) => {
    const { apply } = call;
    call.apply = async function (message) {
      if (message.type === "answer") {
        call.apply = apply;
        await new Promise((done) => setTimeout(done, ms));
        console.log('floe {"late":true}');
      }
      return apply.call(this, message);
    };
  }, Number(ms)),
  // What the page says is held from its next description on, for so long; a restart follows an answer at once.
  slow: (ms) => page.evaluate((ms) => {
    const { say } = room;
    let due = null;
    let last = Promise.resolve();
    room.say = function (message) {
      if (due === null && message.type !== "candidate") {
        due = performance.now() + ms;
        if (message.type === "answer") setTimeout(() => call.pc.restartIce());
      }
      last = last.then(() => new Promise((done) => setTimeout(done, due - performance.now()))).then(() => say.call(this, message));
    };
    console.log('floe {"slow":true}');
  }, Number(ms)),
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
    return pair ? { local: end(by(pair.localCandidateId)), remote: end(by(pair.remoteCandidateId)), rtt: pair.currentRoundTripTime } : null;
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
