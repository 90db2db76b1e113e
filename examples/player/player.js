// The player page: hls.js where the browser has Media Source Extensions, native HLS elsewhere.
//
// Address: ?stream=<id> plays /live/<id>/index.m3u8 of the server the page came from; &token=<viewer token> where only
// viewers with one may watch (docs/tokens.md), and vitrine.renew(token) puts another in its place while the picture runs.
// For tests and comparisons: &src=<playlist URL>, &catchup=<playback rate, 1 is off>, &muted.
//
// Every state a viewer can meet has a name (`data-state` on the body) and a sentence. Nothing is retried for ever:
// waiting for a broadcast gives up after WAIT_LIMIT_MS and says so.

import { LatencyGoal, playbackRate } from "./latency.js";
import { openShop } from "./shop.js";

const Hls = window.Hls;
const $ = (id) => document.getElementById(id);
const [stage, video] = [$("stage"), $("video")];
const query = new URLSearchParams(location.search);

/** How fast the page may play to get back to the live edge; at 1 it keeps whatever latency it started with. */
const CATCH_UP_RATE = Number(query.get("catchup")) || 1.1;
/** The hold-back assumed until the first playlist tells: three parts of 200 ms and a bit. */
const HOLD_BACK_S = 0.645;
/** Pauses between attempts, milliseconds; the last one repeats. */
const RETRY_MS = [1000, 1000, 2000, 3000, 5000];
/** A page left open stops asking after this long. */
const WAIT_LIMIT_MS = 10 * 60 * 1000;
/** More decoder recoveries than this within RECOVERY_WINDOW_MS is a failure, not a hiccup. */
const RECOVERIES = 3;
const RECOVERY_WINDOW_MS = 30_000;
/** Nearer to the end of an ended list than this is its end, seconds: sound and picture do not end together. */
const END_SLACK_S = 0.3;
/** Standing still for longer than this before the end of an ended list is its end too, milliseconds. */
const END_STALL_MS = 1000;
/** Farther behind the wanted position than this is not live any more, seconds. */
const LIVE_SLACK_S = 1.5;
/** One step back, seconds. */
const BACK_S = 10;

const player = {
  /** Leave to watch; it stands in the path of every request. */
  token: query.get("token") ?? "",
  hls: null,
  url: null,
  stream: null,
  attempt: 0,
  waitingSince: 0,
  timer: 0,
  recoveries: [],
  errors: [],
  stalls: 0,
  stalledMs: 0,
  stalledAt: 0,
  started: false,
  /** What the network was seen to do; it outlives a reload of the stream. */
  goal: new LatencyGoal(),
  /** Whether parts are fetched as soon as they are there. */
  following: false,
  /** Whether the viewer went back to see something again: then nothing hurries to the live edge. */
  lookingBack: false,
  ended: null,
  fps: 0,
};

/** What happens in the shop; what it showed once, no reload shows again. */
const events = openShop();

// What the page says ------------------------------------------------------------------------------------------------

function show(state, title = "", detail = "", { retry = false } = {}) {
  document.body.dataset.state = state;
  $("title").textContent = title;
  $("detail").textContent = detail;
  $("retry").hidden = !retry;
}

/** The sentence for an HTTP status, and whether asking again can help. */
function explain(status) {
  if (status === 404) return { state: "waiting", title: "Not live yet", detail: "The picture appears here as soon as the broadcast starts." };
  if (status === 410) return { state: "failed", title: "This broadcast was removed" };
  if (status === 401 || status === 403) return { state: "failed", title: "You may not watch this stream", detail: `The server answered ${status}.` };
  if (status >= 200 && status < 300) return { state: "failed", title: "The server's answer is not a playlist" };
  if (status) return { state: "reconnecting", title: "The server has a problem", detail: `It answered ${status}; asking again.` };
  return { state: "reconnecting", title: "No connection to the server", detail: "Asking again." };
}

// Who may watch -----------------------------------------------------------------------------------------------------

/** The same address without a viewer token: whoever asks, it is the same thing. */
const plain = (url) => url.replace(/\/live\/~[^/]*\//, "/live/");
/** The address with the token of now. */
const leave = (url) => (player.token ? plain(url).replace("/live/", `/live/~${player.token}/`) : url);

// Loading, waiting, recovering --------------------------------------------------------------------------------------

function open(url, stream) {
  close();
  Object.assign(player, { url, stream, attempt: 0, waitingSince: Date.now(), ended: null, recoveries: [], errors: [], stalls: 0, stalledMs: 0 });
  document.title = stream ? `${stream} · Vitrine` : "Vitrine";
  show("connecting", "Connecting");
  load();
}

function close() {
  clearTimeout(player.timer);
  events.detach();
  player.hls?.destroy();
  player.hls = null;
  Object.assign(player, { ended: null, started: false, following: false, lookingBack: false, stalledAt: 0 });
  video.removeAttribute("src");
  video.load();
}

function load() {
  if (Hls?.isSupported()) return loadWithHlsJs();
  if (video.canPlayType("application/vnd.apple.mpegurl")) {
    events.attach(video);
    video.src = leave(player.url);
    return start();
  }
  if (!Hls) return show("failed", "hls.js is missing", "Run `make assets`, then reload this page.");
  show("failed", "This browser cannot play HLS", "It has neither Media Source Extensions nor native HLS.");
}

/** Keeps the latency where `latency.js` wants it. */
function keepLatency() {
  const { hls } = player;
  if (!hls || video.paused || hls.targetLatency === null) return;
  setGoal(hls);
  const wanted = player.lookingBack ? 1 : playbackRate(hls.latency - hls.targetLatency, bufferedAhead(), CATCH_UP_RATE);
  if (Math.abs(video.playbackRate - wanted) > 0.005) video.playbackRate = wanted;
}

/** hls.js starts, and goes live again, at its target latency. */
function setGoal(hls) {
  const holdBack = hls.latestLevelDetails?.partHoldBack || HOLD_BACK_S;
  const wanted = player.goal.goal(performance.now() / 1000, holdBack);
  if (Math.abs(wanted - (hls.targetLatency ?? 0)) > 0.005) hls.targetLatency = wanted;
}

/** What a part tells of the network, unless the player fetched it late itself: having started, or gone back. */
function onBuffered(hls, { frag, part, stats }) {
  const details = hls.latestLevelDetails;
  if (!part || !details?.live) return;
  player.goal.answered((stats.loading.first - stats.loading.start) / 1000);
  player.following ||= part.end > details.edge - details.partTarget / 2;
  if (player.following) player.goal.arrived(performance.now() / 1000, details.edge + details.age - part.start);
}

/** Seconds that can be played without another byte. */
function bufferedAhead() {
  const { buffered, currentTime } = video;
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.1 && currentTime <= buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return 0;
}

// While a broadcast is away hls.js asks for its next segment in this rhythm, once a second by default: that long would
// its return go unnoticed.
if (Hls) Object.assign(Hls.DefaultConfig.fragLoadPolicy.default.errorRetry, { retryDelayMs: 200, maxNumRetry: 8 });

function loadWithHlsJs() {
  const hls = new Hls({
    lowLatencyMode: true,
    liveSyncOnStallIncrease: 0, // the goal says how much
    backBufferLength: 30,
    capLevelToPlayerSize: true,
    xhrSetup: (request, url) => request.open("GET", leave(url)),
  });
  player.hls = hls;
  hls.on(Hls.Events.MANIFEST_LOADED, (_, { stats }) => player.goal.answered((stats.loading.first - stats.loading.start) / 1000));
  hls.on(Hls.Events.MANIFEST_PARSED, () => { setGoal(hls); listQualities(); start(); });
  hls.on(Hls.Events.LEVEL_LOADED, () => setGoal(hls));
  hls.on(Hls.Events.FRAG_BUFFERED, (_, buffered) => onBuffered(hls, buffered));
  hls.on(Hls.Events.LEVEL_SWITCHED, nameQuality);
  hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => { if (!details.live) playOut(hls, details); });
  hls.on(Hls.Events.ERROR, (_, error) => onHlsError(hls, error));
  events.attach(hls);
  hls.loadSource(player.url);
  hls.attachMedia(video);
}

function onHlsError(hls, { type, details, fatal, response, error }) {
  player.errors.push({ at: Date.now(), type, details, fatal, status: response?.code, message: error?.message });
  if (player.errors.length > 200) player.errors.shift();
  // Removed for everybody: the picture goes at once, fatal or not, whatever is in the buffer.
  if (hls === player.hls && response?.code === 410) return again(410);
  if (!fatal || hls !== player.hls) return;
  if (type !== Hls.ErrorTypes.MEDIA_ERROR) return again(response?.code ?? 0);
  const now = Date.now();
  player.recoveries = [...player.recoveries.filter((at) => now - at < RECOVERY_WINDOW_MS), now];
  if (player.recoveries.length <= RECOVERIES) return hls.recoverMediaError();
  close();
  show("failed", "The picture cannot be decoded", `This browser gave up on the stream (${details}).`, { retry: true });
}

/** Starts over from the multivariant playlist after a pause: the stream may be back under a new epoch. */
function again(status) {
  const { state, title, detail } = explain(status);
  const playing = player.started;
  close();
  if (status === 410) video.removeAttribute("poster");
  if (playing) Object.assign(player, { attempt: 0, waitingSince: Date.now() });
  if (state === "failed") return show(state, title, detail, { retry: true });
  if (Date.now() - player.waitingSince > WAIT_LIMIT_MS) {
    return show("failed", title, "Nothing came for ten minutes; this page has stopped asking.", { retry: true });
  }
  show(state, title, detail, { retry: true });
  const pause = RETRY_MS[Math.min(player.attempt++, RETRY_MS.length - 1)];
  player.timer = setTimeout(load, pause * (0.8 + 0.4 * Math.random()));
}

async function start() {
  try {
    await video.play();
  } catch (error) {
    // Browsers refuse sound before a gesture: start silent and offer the sound.
    if (error.name !== "NotAllowedError" || video.muted) return;
    video.muted = true;
    $("sound").hidden = false;
    await video.play().catch(() => {});
  }
}

/**
 * Plays an ended list to the end of its media. A list that ends in a gap, because the encoder was away before it came
 * back with other tracks, never makes the video element end by itself.
 */
function playOut(hls, details) {
  if (hls !== player.hls || document.body.dataset.state === "ended") return;
  const last = details.fragments.findLast((fragment) => !fragment.gap);
  const stuck = player.stalledAt && performance.now() - player.stalledAt > END_STALL_MS;
  if (!last || stuck || video.currentTime > last.end - END_SLACK_S) return end();
  clearTimeout(player.timer);
  player.timer = setTimeout(playOut, 100, hls, details);
}

function end() {
  clearTimeout(player.timer);
  Object.assign(player, { waitingSince: Date.now(), attempt: 0 });
  show("ended", "The broadcast has ended", "If it starts again, so does this page.", { retry: true });
  awaitNextBroadcast();
}

/** An ended stream keeps its last playlist for a while: only one that lists something else is a new broadcast. */
async function awaitNextBroadcast() {
  if (Date.now() - player.waitingSince > WAIT_LIMIT_MS) return;
  const answer = await fetch(leave(player.url), { cache: "no-store" }).catch(() => null);
  const text = answer?.ok ? await answer.text().catch(() => null) : null;
  if (document.body.dataset.state !== "ended") return;
  if (answer?.status === 410) return again(410);
  if (text && listsAnother(text)) {
    close();
    show("connecting", "Connecting");
    return load();
  }
  player.timer = setTimeout(awaitNextBroadcast, RETRY_MS[Math.min(player.attempt++, RETRY_MS.length - 1)]);
}

/** Whether a multivariant playlist lists other media playlists than the one that ended. */
function listsAnother(text) {
  const listed = text.split("\n").filter((line) => /^[^#\s]/.test(line)).map((line) => new URL(line.trim(), new URL(player.url, location)).href).map(plain);
  player.ended ??= player.hls ? player.hls.levels.map((level) => plain(level.uri)) : listed;
  return !listed.some((uri) => player.ended.includes(uri));
}

video.addEventListener("playing", () => {
  if (player.stalledAt) player.stalledMs += performance.now() - player.stalledAt;
  Object.assign(player, { started: true, stalledAt: 0, attempt: 0 });
  video.removeAttribute("poster"); // too old, should the picture go away
  show("playing");
});
video.addEventListener("waiting", () => {
  if (!player.started || video.seeking) return;
  player.stalls += 1;
  player.stalledAt = performance.now();
  if (player.hls?.latestLevelDetails?.live) player.goal.stalled(player.stalledAt / 1000, player.hls.latency);
  show("buffering");
});
video.addEventListener("ended", () => { if (document.body.dataset.state !== "ended") end(); });
video.addEventListener("error", async () => {
  if (player.hls || !video.getAttribute("src")) return; // hls.js reports for itself
  if (video.error?.code === MediaError.MEDIA_ERR_DECODE) {
    return show("failed", "The picture cannot be decoded", video.error.message, { retry: true });
  }
  // Native players hide the HTTP status: ask for it.
  again(await fetch(leave(player.url)).then((answer) => (answer.ok ? 0 : answer.status), () => 0));
});

// Latency and statistics --------------------------------------------------------------------------------------------

/** When the picture on screen passed the server, by EXT-X-PROGRAM-DATE-TIME; milliseconds since 1970, or NaN. */
function pictureTime() {
  if (player.hls) return player.hls.playingDate?.getTime() ?? NaN;
  return (video.getStartDate?.().getTime() ?? NaN) + video.currentTime * 1000;
}

function liveTarget() {
  if (player.hls) return player.hls.liveSyncPosition ?? NaN;
  return video.seekable.length ? video.seekable.end(video.seekable.length - 1) - 1 : NaN;
}

function stats() {
  const { hls } = player;
  const quality = video.getVideoPlaybackQuality?.();
  const level = hls?.levels?.[hls.currentLevel];
  const details = level?.details;
  return {
    state: document.body.dataset.state,
    engine: hls ? `hls.js ${Hls.version}` : video.src ? "native" : "none",
    currentTime: video.currentTime,
    width: video.videoWidth,
    height: video.videoHeight,
    fps: player.fps,
    frames: quality?.totalVideoFrames ?? 0,
    dropped: quality?.droppedVideoFrames ?? 0,
    bufferS: bufferedAhead(),
    clockLatencyS: (Date.now() - pictureTime()) / 1000,
    edgeLatencyS: hls?.latency || NaN,
    targetLatencyS: hls?.targetLatency ?? NaN,
    partTargetS: details?.partTarget ?? NaN,
    holdBackS: details?.partHoldBack ?? NaN,
    bandwidthBps: hls?.bandwidthEstimate ?? NaN,
    level: hls?.currentLevel ?? -1,
    levels: hls?.levels?.length ?? 0,
    levelBps: level?.bitrate ?? NaN,
    rate: video.playbackRate,
    catchUpRate: hls ? CATCH_UP_RATE : NaN,
    stalls: player.stalls,
    stalledMs: Math.round(player.stalledMs + (player.stalledAt ? performance.now() - player.stalledAt : 0)),
    errors: player.errors.length,
    fatalErrors: player.errors.filter((error) => error.fatal).length,
  };
}

const seconds = (value) => (Number.isFinite(value) ? `${value.toFixed(2)} s` : "–");
const megabits = (value) => (Number.isFinite(value) ? `${(value / 1e6).toFixed(2)} Mb/s` : "–");
const ROWS = {
  Picture: (s) => (s.width ? `${s.width} × ${s.height}` : "–"),
  "Frames per second": (s) => (s.fps ? s.fps.toFixed(1) : "–"),
  "Dropped frames": (s) => `${s.dropped} of ${s.frames}`,
  "Behind the server's clock": (s) => seconds(s.clockLatencyS),
  "Behind the live edge": (s) => `${seconds(s.edgeLatencyS)} (goal ${seconds(s.targetLatencyS)})`,
  Buffer: (s) => seconds(s.bufferS),
  "Part target, hold-back": (s) => `${seconds(s.partTargetS)}, ${seconds(s.holdBackS)}`,
  Level: (s) => (s.level < 0 ? "–" : `${s.level + 1} of ${s.levels}, ${megabits(s.levelBps)}`),
  Bandwidth: (s) => megabits(s.bandwidthBps),
  "Playback rate": (s) => `${s.rate.toFixed(2)} (up to ${Number.isFinite(s.catchUpRate) ? s.catchUpRate : 1})`,
  Stalls: (s) => `${s.stalls}, ${seconds(s.stalledMs / 1000)} in all`,
  Errors: (s) => `${s.errors}, ${s.fatalErrors} fatal`,
  Engine: (s) => s.engine,
};
const cells = Object.fromEntries(Object.keys(ROWS).map((name) => {
  const [term, value] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  $("stats").append(term, value);
  return [name, value];
}));

video.addEventListener("timeupdate", keepLatency);
video.addEventListener("seeking", () => { player.following = false; });

let lastFrames = 0;
let lastTick = performance.now();
function tick() {
  const now = performance.now();
  const s = stats();
  player.fps = Math.max(0, (s.frames - lastFrames) / ((now - lastTick) / 1000));
  [lastFrames, lastTick] = [s.frames, now];
  const live = !video.paused && liveTarget() - video.currentTime < LIVE_SLACK_S;
  $("live").classList.toggle("on", live);
  $("golive").classList.toggle("on", live);
  $("behind").textContent = Number.isFinite(s.clockLatencyS) ? `${s.clockLatencyS.toFixed(1)} s` : "";
  if (!$("seek").matches(":active")) Object.assign($("seek"), { min: oldest(), max: liveTarget(), value: video.currentTime });
  if (!$("stats").hidden) for (const [name, format] of Object.entries(ROWS)) cells[name].textContent = format(s);
}
setInterval(tick, 500);

// Controls ----------------------------------------------------------------------------------------------------------

function listQualities() {
  const options = player.hls.levels
    .map((level, index) => ({ index, side: Math.min(level.width, level.height), bitrate: level.bitrate }))
    .sort((a, b) => b.bitrate - a.bitrate)
    .map(({ index, side, bitrate }) => new Option(`${side ? `${side}p` : "Audio"} · ${(bitrate / 1e6).toFixed(1)} Mb/s`, index));
  $("quality").replaceChildren(new Option("Auto", -1), ...options);
  nameQuality();
}

function nameQuality() {
  const { hls } = player;
  const level = hls.autoLevelEnabled && hls.levels[hls.currentLevel];
  const side = level && Math.min(level.width, level.height);
  $("quality").options[0].text = side ? `Auto (${side}p)` : "Auto";
}

/** The oldest picture that can be shown: in the list, or still in the buffer. */
function oldest() {
  const listed = player.hls ? player.hls.latestLevelDetails?.fragmentStart : video.seekable.length && video.seekable.start(0);
  return Math.min(listed ?? Infinity, video.buffered.length ? video.buffered.start(0) : Infinity);
}

function seek(time) {
  const [from, to] = [oldest(), liveTarget()];
  if (!(from <= to)) return;
  video.currentTime = Math.max(from, Math.min(time, to));
  player.lookingBack = to - video.currentTime > LIVE_SLACK_S;
}

function goLive() {
  const target = liveTarget();
  player.lookingBack = false;
  if (Number.isFinite(target)) video.currentTime = target;
  start();
}

const toggle = {
  play: () => (video.paused ? goLive() : video.pause()),
  mute: () => { video.muted = !video.muted; },
  back: () => seek(video.currentTime - BACK_S),
  stats: () => {
    $("stats").hidden = !$("stats").hidden;
    $("info").setAttribute("aria-pressed", String(!$("stats").hidden));
    tick();
  },
  full: () => {
    if (document.fullscreenElement) return document.exitFullscreen();
    // iPhones let only the video element itself fill the screen.
    return stage.requestFullscreen ? stage.requestFullscreen().catch(() => {}) : video.webkitEnterFullscreen?.();
  },
};

$("play").onclick = toggle.play;
$("mute").onclick = toggle.mute;
$("info").onclick = toggle.stats;
$("full").onclick = toggle.full;
$("golive").onclick = goLive;
$("back").onclick = toggle.back;
$("seek").oninput = () => seek(Number($("seek").value));
$("sound").onclick = () => { video.muted = false; };
$("volume").oninput = () => { video.volume = Number($("volume").value); video.muted = video.volume === 0; };
$("quality").onchange = () => { if (player.hls) player.hls.nextLevel = Number($("quality").value); };
$("retry").onclick = () => open(player.url, player.stream);

for (const name of ["play", "pause"]) video.addEventListener(name, () => {
  stage.toggleAttribute("data-paused", video.paused);
  $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
});
video.addEventListener("volumechange", () => {
  stage.toggleAttribute("data-muted", video.muted);
  $("mute").setAttribute("aria-pressed", String(video.muted));
  if (!video.muted) $("sound").hidden = true;
});
video.addEventListener("resize", () => {
  if (!video.videoWidth) return;
  stage.style.setProperty("--shape", `${video.videoWidth} / ${video.videoHeight}`);
  stage.toggleAttribute("data-portrait", video.videoHeight > video.videoWidth);
});
addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const action = { m: toggle.mute, s: toggle.stats, f: toggle.full, l: goLive, arrowleft: toggle.back, " ": event.target.closest("button") ? null : toggle.play }[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

// Picking a stream --------------------------------------------------------------------------------------------------

const RECENTS = "vitrine.recents";

function recents() {
  try {
    return JSON.parse(localStorage.getItem(RECENTS)) ?? [];
  } catch {
    return []; // storage is refused in some private windows
  }
}

function remember(stream) {
  const list = [stream, ...recents().filter((name) => name !== stream)].slice(0, 8);
  try { localStorage.setItem(RECENTS, JSON.stringify(list)); } catch { /* then nothing is remembered */ }
  offer();
}

function offer() {
  $("recents").replaceChildren(...recents().map((name) => new Option(name, name)));
}

function watch(stream) {
  $("stream").value = stream;
  remember(stream);
  video.poster = leave(`/live/${encodeURIComponent(stream)}/thumbnail.jpg`);
  open(`/live/${encodeURIComponent(stream)}/index.m3u8`, stream);
}

$("picker").onsubmit = (event) => {
  event.preventDefault();
  const stream = $("stream").value.trim();
  history.replaceState(null, "", `?${new URLSearchParams({ stream })}`);
  watch(stream);
};

/** Puts another token in the place of the one that is about to expire; nothing is loaded anew. */
function renew(token) {
  player.token = token;
}

window.vitrine = { renew, events, get hls() { return player.hls; }, get errors() { return player.errors; }, video, stats };

stage.toggleAttribute("data-paused", true);
video.muted = query.has("muted");
offer();
if (query.has("src")) open(query.get("src"), null);
else if (/^[A-Za-z0-9_-]{1,64}$/.test(query.get("stream") ?? "")) watch(query.get("stream"));
else {
  show("idle", "Which stream?", "Type its id above, or open this page with ?stream=demo.");
  $("stream").focus();
}
