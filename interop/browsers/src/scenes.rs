//! What happens once floe and a browser talk.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{Cell, Offers, SOON, Stage, is};

/// Consent ends after 30 s; the look at it takes a while. [RFC 7675]
const CONSENT: Duration = Duration::from_secs(35);

/// What happens after both have talked.
pub type Scene = fn(&mut Stage) -> Result<(), String>;

/// All, with who offered first.
pub const SCENES: [(&str, Offers, Scene); 9] = [
    ("both restart at once, floe offered first", Offers::Floe, restart_at_once),
    ("both restart at once, the browser offered first", Offers::Browser, restart_at_once),
    ("late answer", Offers::Floe, late_answer),
    ("slow offer", Offers::Floe, slow_offer),
    ("slow answer", Offers::Floe, slow_answer),
    ("reload", Offers::Floe, reload),
    ("channel closed", Offers::Browser, channel_closed),
    ("floe killed", Offers::Floe, floe_killed),
    ("browser killed", Offers::Floe, browser_killed),
];

/// What came of a cell.
pub struct Row {
    pub version: String,
    pub cell: Cell,
    /// From the peer's arrival until a pair was selected, and until the channel was open: in
    /// milliseconds, by the clock of floe.
    pub selected: f64,
    pub open: f64,
    pub pair: String,
}

/// Plays a scene, and says how long it took.
pub fn time(scene: Scene, stage: &mut Stage) -> Result<Duration, String> {
    let began = Instant::now();
    scene(stage)?;
    Ok(began.elapsed())
}

/// Both agree on the pair, and go on over a restart from each side.
pub fn cell(stage: &mut Stage, cell: Cell) -> Result<Row, String> {
    let pair = stage.compare()?;
    let [began, selected, open] = ["peer", "selected", "open"]
        .map(|kind| stage.floe.first(is("type", kind)).and_then(|said| said["ms"].as_f64()));
    let began = began.ok_or("nobody came")?;
    let selected = selected.ok_or("nothing was selected")? - began;
    let open = open.ok_or("no channel")? - began;
    stage.browser.tell("restart")?;
    stage.floe.until("that the browser restarts", SOON, is("type", "restarting"))?;
    stage.floe.until("a new pair", SOON, is("type", "selected"))?;
    stage.talk("after the browser's restart")?;
    stage.floe.tell("/restart")?;
    stage.floe.until("that it restarts", SOON, is("type", "restarting"))?;
    stage.floe.until("a new pair", SOON, is("type", "selected"))?;
    stage.talk("after the restart of floe")?;
    stage.compare()?;
    let version = stage.version.clone();
    Ok(Row { version, cell, selected, open, pair })
}

/// Both ask for a restart before they hear of the other's, again and again: the channel goes on.
fn restart_at_once(stage: &mut Stage) -> Result<(), String> {
    let mut forgiven = false;
    for round in 0..5 {
        stage.browser.tell("restart")?;
        stage.floe.tell("/restart")?;
        stage.floe.until("a new pair", SOON, is("type", "selected"))?;
        let Err(why) = stage.talk(&format!("after restart {round}")) else { continue };
        if forgiven || !gave_up_its_handshake(stage) {
            return Err(why);
        }
        forgiven = true;
        stage.talk(&format!("again after restart {round}"))?;
    }
    // Chromium may have given up the pair that floe nominates before it heard of that: then each
    // sends over a pair of its own.
    Ok(())
}

/// Firefox that restarts once more before it is done has given up the pair of before: if it sends
/// anything now, its DTLS ends for good, and the page begins another session.
fn gave_up_its_handshake(stage: &mut Stage) -> bool {
    stage.browser.hear();
    let said = |said: &Value| said["log"]["text"] == "The handshake failed.";
    stage.version.starts_with("firefox") && stage.browser.first(said).is_some()
}

/// floe nominates before the page has heard its answer, and has left the pair of before by then:
/// both agree all the same.
fn late_answer(stage: &mut Stage) -> Result<(), String> {
    stage.browser.tell("late 4000")?;
    stage.browser.tell("restart")?;
    stage.floe.until("that the browser restarts", SOON, is("type", "restarting"))?;
    stage.floe.until("a new pair", SOON, is("type", "selected"))?;
    stage.browser.until("that the answer is heard", SOON, |said| said["late"] == true)?;
    stage.talk("after a late answer")?;
    stage.compare().map(drop)
}

/// The browser checks by its next credentials before its offer comes.
fn slow_offer(stage: &mut Stage) -> Result<(), String> {
    slow(stage)?;
    stage.browser.tell("restart")?;
    restarted(stage)
}

/// The same while its answer to the restart of floe is still under way.
fn slow_answer(stage: &mut Stage) -> Result<(), String> {
    slow(stage)?;
    stage.floe.tell("/restart")?;
    restarted(stage)
}

/// What the browser says from its next description on is held for 400 ms.
fn slow(stage: &mut Stage) -> Result<(), String> {
    stage.browser.tell("slow 400")?;
    stage.browser.until("that it is slow", SOON, |said| said["slow"] == true).map(drop)
}

/// The browser restarts, and both agree on a new pair.
fn restarted(stage: &mut Stage) -> Result<(), String> {
    let by_peer = |said: &Value| said["type"] == "restarting" && said["by_peer"] == true;
    stage.floe.until("that the browser restarts", SOON, by_peer)?;
    stage.floe.until("a new pair", SOON, is("type", "selected"))?;
    stage.talk("after the restart")?;
    stage.compare().map(drop)
}

/// The page is loaded anew: both find each other again.
fn reload(stage: &mut Stage) -> Result<(), String> {
    stage.browser.tell("reload")?;
    stage.open()?;
    stage.talk("after the reload")
}

/// The channel ends while both stay in the room: they get another.
fn channel_closed(stage: &mut Stage) -> Result<(), String> {
    stage.browser.tell("close")?;
    stage.floe.until("that the session is over", SOON, is("type", "left"))?;
    stage.open()?;
    stage.talk("over another channel")
}

/// floe ends without a word: the browser notices.
fn floe_killed(stage: &mut Stage) -> Result<(), String> {
    stage.floe.kill();
    // In Node the one state comes right after the other.
    let noticed = |said: &Value| said["ice"] == "disconnected" || said["ice"] == "failed";
    stage.browser.until("disconnected", CONSENT, noticed)?;
    Ok(())
}

/// The browser ends without a word: floe notices within the time of consent.
fn browser_killed(stage: &mut Stage) -> Result<(), String> {
    stage.browser.tell("crash")?;
    // Firefox has a process that outlives the others for long enough to close the channel.
    let noticed = |said: &Value| said["state"] == "disconnected" || said["type"] == "left";
    stage.floe.until("disconnected", CONSENT, noticed)?;
    Ok(())
}
