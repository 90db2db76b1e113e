// The rules of examples/player/vitrine-events.js, without a browser: `node --test tests/browser/events.test.mjs`.
//
// Players are stood in for by objects that tell a date and hand over what a real one parses; the real ones are watched by
// events.mjs, in Chromium.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { beforeEach, mock, test } from "node:test";
import { gzipSync } from "node:zlib";
import { VitrineEvents } from "../../examples/player/vitrine-events.js";

const FILE = new URL("../../examples/player/vitrine-events.js", import.meta.url);
/** What a page may have to load for it, compressed. */
const GZIP_BYTES_MAX = 4096;
const T0 = Date.parse("2026-01-01T12:00:00.000Z");

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: T0 + 100_000 });
});

/** As the daemon writes it into the stream, at `second` of the broadcast. */
const at = (second, id, type, data = {}, more = {}) => ({
  id, type, sync: "media", data, epoch: 1767268800, t: second * 1000, pdt: new Date(T0 + second * 1000).toISOString(), ...more,
});
const pin = (second, id, listing, more) => at(second, id, "listing.pinned", { listing }, more);
const base64url = (event) => Buffer.from(JSON.stringify(event)).toString("base64url");

/** A tag as src/core/wire/id3.rs writes it, with another program's frame in front of ours. */
function tag(event) {
  const size = (length) => [21, 14, 7, 0].map((shift) => (length >> shift) & 0x7f);
  const frame = (name, text) => {
    const body = Buffer.concat([Buffer.from([3]), Buffer.from(`${name}\0${text}`)]);
    return Buffer.concat([Buffer.from("TXXX"), Buffer.from([...size(body.length), 0, 0]), body]);
  };
  const frames = Buffer.concat([frame("other", "x".repeat(200)), frame("vitrine", JSON.stringify(event))]);
  return new Uint8Array(Buffer.concat([Buffer.from("ID3\x04\0\0"), Buffer.from(size(frames.length)), frames]));
}

/** hls.js as far as it matters here. */
class Hls {
  listeners = new Map();
  playingDate = null;
  on(name, listener) { this.listeners.set(name, listener); }
  off(name, listener) { if (this.listeners.get(name) === listener) this.listeners.delete(name); }
  parse(...events) { this.listeners.get("hlsFragParsingMetadata")?.("", { samples: events.map((event) => ({ data: tag(event) })) }); }
  list(...ranges) {
    const dateRanges = Object.fromEntries(ranges.map(({ event, end }) =>
      [event.id, { attr: { "X-VITRINE": base64url(event) }, endDate: end === undefined ? null : new Date(T0 + end * 1000) }]));
    this.listeners.get("hlsLevelUpdated")?.("", { details: { dateRanges: { ...dateRanges, foreign: { attr: { "X-COM": "b25l" }, endDate: null } } } });
  }
}

/** A page that follows `player`, at `second` of the broadcast. */
function page(options = {}, player = new Hls()) {
  const [fired, states] = [[], []];
  const events = new VitrineEvents({
    onEvent: (event, lateMs) => fired.push([event.id, Math.round(lateMs)]),
    onState: (state, date) => states.push([(date - T0) / 1000, state.pinned?.listing ?? null]),
    ...options,
  });
  events.attach(player);
  const show = (second) => {
    player.playingDate = new Date(T0 + second * 1000);
    mock.timers.tick(200);
  };
  return { events, player, fired, states, show };
}

test("it is small", async () => {
  const bytes = gzipSync(await readFile(FILE), { level: 9 }).length;
  assert.ok(bytes < GZIP_BYTES_MAX, `${bytes} bytes`);
});

test("an event fires once, when its picture is there, in the order of the pictures", () => {
  const { player, fired, show } = page();
  show(10);
  player.parse(at(12, "b", "price.changed"), at(11, "a", "sale.happened"));
  player.parse(at(12, "b", "price.changed"), at(11, "a", "sale.happened"));
  show(10.9);
  assert.deepEqual(fired, []);
  show(11);
  assert.deepEqual(fired, [["a", 0]]);
  show(12.05);
  show(11);
  show(13);
  player.parse(at(12, "b", "price.changed", {}, { epoch: 9 }));
  show(14);
  assert.deepEqual(fired, [["a", 0], ["b", 50]]);
});

test("between two looks it waits no longer than until the event", () => {
  const { player, fired, show } = page();
  show(10);
  player.parse(at(10.05, "a", "sale.happened"));
  mock.timers.tick(4);
  player.playingDate = new Date(T0 + 10_050);
  mock.timers.tick(50);
  assert.deepEqual(fired, [["a", 0]]);
});

test("what comes late fires at once, and tells how late it is", () => {
  const { player, fired, show } = page();
  show(30);
  player.parse(at(21, "late", "stamp.sent"));
  mock.timers.tick(1);
  assert.deepEqual(fired, [["late", 9000]]);
});

test("nothing fires while no picture has a date", () => {
  const { player, fired } = page();
  player.parse(at(1, "a", "stamp.sent"));
  mock.timers.tick(2000);
  assert.deepEqual(fired, []);
});

test("what fired in one player has fired in the next", () => {
  const { events, player, fired, show } = page();
  show(10);
  player.parse(at(10, "a", "stamp.sent"));
  show(10.1);
  const next = new Hls();
  events.attach(next);
  player.parse(at(10, "never", "stamp.sent"));
  next.playingDate = new Date(T0 + 20_000);
  next.parse(at(10, "a", "stamp.sent"), at(15, "b", "stamp.sent"));
  mock.timers.tick(200);
  assert.deepEqual(fired, [["a", 100], ["b", 5000]]);
});

test("seeking back shows the earlier product, and fires nothing twice", () => {
  const { player, fired, states, show } = page();
  show(10);
  player.parse(pin(11, "p1", "cup"), pin(21, "p2", "plate", { close: "p1" }));
  for (const second of [10.5, 11, 15, 21, 25, 15, 10.5, 22]) show(second);
  assert.deepEqual(fired.map(([id]) => id), ["p1", "p2"]);
  assert.deepEqual(states, [[10, null], [11, "cup"], [21, "plate"], [15, "cup"], [10.5, null], [22, "plate"]]);
});

test("things end by close, by their duration, by their opposite, by the end of their range", () => {
  const { events, player, show } = page();
  show(0);
  player.parse(
    pin(1, "p1", "cup"), at(3, "x", "price.changed", { listing: "cup" }, { close: "p1" }),
    pin(5, "p2", "plate", { duration_ms: 2000 }),
    pin(10, "p3", "bowl"), at(11, "u1", "listing.unpinned", { listing: "cup" }), at(12, "u2", "listing.unpinned", { listing: "bowl" }),
    pin(14, "p4", "jug"), at(15, "u3", "listing.unpinned"), pin(18, "p6", "vase"), at(19, "r", "listing.removed", { listing: "vase" }),
  );
  player.list({ event: pin(16, "p5", "pot"), end: undefined });
  assert.equal(events.stateAt(T0 + 17_500).pinned.listing, "pot");
  player.list({ event: pin(16, "p5", "pot"), end: 17 });
  const pinned = (second) => events.stateAt(T0 + second * 1000).pinned?.listing;
  assert.deepEqual([0, 1, 2.9, 3].map(pinned), [undefined, "cup", "cup", undefined]);
  assert.deepEqual([5, 6.9, 7].map(pinned), ["plate", "plate", undefined]);
  assert.deepEqual([10, 11, 12].map(pinned), ["bowl", "bowl", undefined]);
  assert.deepEqual([14, 15].map(pinned), ["jug", undefined]);
  assert.deepEqual([16, 16.9, 17, 17.5].map(pinned), ["pot", "pot", undefined, undefined]);
  assert.deepEqual([18, 19].map(pinned), ["vase", undefined]);
});

test("every lasting type has its place, with what its event tells", () => {
  const { events, player, show } = page();
  show(0);
  const types = { "show.started": "show", "flash.started": "flash", "coupon.pinned": "coupon", "slide.changed": "slide", "notice.posted": "notice" };
  for (const [type, slot] of Object.entries(types)) {
    player.parse(at(1, slot, type, { text: type }, { duration_ms: 5000 }));
    assert.deepEqual(events.stateAt(T0 + 2000)[slot], { text: type, id: slot, since: T0 + 1000, until: T0 + 6000 });
  }
  player.parse(at(3, "fe", "flash.ended"), at(3, "se", "show.ended"), at(3, "n", "like.count", { count: 7 }), at(4, "v", "viewer.count", { count: 9 }));
  const state = events.stateAt(T0 + 4000);
  assert.deepEqual([state.flash, state.show, state.likes, state.viewers], [undefined, undefined, 7, 9]);
  assert.equal(events.stateAt(T0 + 3500).viewers, undefined);
});

test("the newest version of a price holds, in whatever order they come", () => {
  const { events, player, show } = page();
  show(0);
  const price = (second, id, amount, price_version) => at(second, id, "price.changed", { listing: "cup", price: { amount }, price_version });
  player.parse(at(1, "p", "listing.pinned", { listing: "cup", title: "Cup", price: { amount: 100 }, price_version: 1 }));
  player.parse(price(5, "v3", 80, 3), price(6, "v2", 90, 2));
  const amount = (second) => events.stateAt(T0 + second * 1000).pinned.price.amount;
  assert.deepEqual([1, 5, 6].map(amount), [100, 80, 80]);
  player.parse(at(7, "s", "stock.changed", { listing: "cup", available: 3, stock_version: 9 }), at(8, "old", "stock.changed", { listing: "cup", available: 5, stock_version: 8 }));
  const { pinned, listings } = events.stateAt(T0 + 9000);
  assert.deepEqual([pinned.title, pinned.available, listings.cup.price_version], ["Cup", 3, 3]);
});

test("a range and its copy in the stream are one event", () => {
  const { player, fired, states, show } = page();
  show(5);
  player.list({ event: pin(2, "p", "cup") });
  mock.timers.tick(1);
  player.parse(pin(2, "p", "cup"));
  player.list({ event: pin(2, "p", "cup"), end: 9 });
  show(8);
  show(9);
  assert.deepEqual(fired, [["p", 3000]]);
  assert.deepEqual(states.map(([, pinned]) => pinned), [null, "cup", "cup", null]);
});

test("who joins late learns from a repeat; who knows more is not set back by it", () => {
  const repeat = (second, id, seq, listing) => at(second, id, "state.repeat", { pinned: { listing }, listings: { [listing]: { title: listing } } }, { seq });
  const late = page();
  late.show(40);
  late.player.parse(repeat(40, "r4", 12, "plate"));
  late.show(41);
  assert.equal(late.events.stateAt(late.events.date).pinned.title, "plate");
  const { events, player, show } = page();
  show(10);
  player.parse(pin(11, "p1", "cup", { seq: 11 }), pin(12, "p2", "plate", { seq: 12 }), repeat(15, "r1", 11, "cup"), repeat(25, "r2", 12, "plate"), repeat(35, "r3", 13, "bowl"));
  const pinned = (second) => events.stateAt(T0 + second * 1000).pinned?.listing;
  assert.deepEqual([11, 12, 16, 26, 36].map(pinned), ["cup", "plate", "plate", "plate", "bowl"]);
  player.parse(at(38, "r5", "state.repeat", { pinned: { listing: "older" } }));
  assert.equal(pinned(38), "bowl", "without a number it tells those who know nothing");
});

test("a missing number asks the page once, and its answer holds from there on", async () => {
  const asked = [];
  const snapshot = async (date) => {
    asked.push((date - T0) / 1000);
    return { seq: 4, pinned: { listing: "told" }, listings: {} };
  };
  const { events, player, show } = page({ snapshot });
  show(10);
  player.parse(pin(10, "e1", "cup", { seq: 1 }), at(11, "e2", "price.changed", {}, { seq: 2 }));
  show(11);
  assert.deepEqual(asked, []);
  player.parse(at(12, "e4", "price.changed", {}, { seq: 4 }), at(12, "e6", "price.changed", {}, { seq: 6 }));
  show(12);
  show(12.2);
  await new Promise(setImmediate);
  assert.deepEqual(asked, [12]);
  const pinned = (second) => events.stateAt(T0 + second * 1000).pinned?.listing;
  assert.deepEqual([11, 12.3].map(pinned), ["cup", "told"]);
  mock.timers.tick(1000);
  player.parse(at(14, "e9", "price.changed", {}, { seq: 9 }));
  show(14);
  await new Promise(setImmediate);
  assert.deepEqual(asked, [12, 14]);
});

test("the answer to a gap is what holds", async () => {
  const { events, player, show } = page({ snapshot: async () => ({ seq: 8, pinned: { listing: "told" } }) });
  show(10);
  player.parse(at(10, "e8", "price.changed", {}, { seq: 8 }));
  show(10);
  await new Promise(setImmediate);
  assert.equal(events.stateAt(T0 + 10_000).pinned.listing, "told");
});

test("a snapshot that fails is no end", async () => {
  let asked = 0;
  const { player, fired, show } = page({ snapshot: async () => { asked += 1; throw new Error("503"); } });
  show(10);
  player.parse(at(10, "e5", "price.changed", {}, { seq: 5 }));
  show(10);
  await new Promise(setImmediate);
  mock.timers.tick(1000);
  player.parse(at(11, "e9", "price.changed", {}, { seq: 9 }));
  show(11);
  await new Promise(setImmediate);
  assert.deepEqual([asked, fired.length], [2, 2]);
});

test("over a socket: now at once, media at its picture, without a date at once", () => {
  const socket = new EventTarget();
  const { player, fired, events, show } = page({ socket });
  const send = (event) => socket.dispatchEvent(Object.assign(new Event("message"), { data: typeof event === "string" ? event : JSON.stringify(event) }));
  show(10);
  send({ id: "now", type: "like.count", sync: "now", data: { count: 3 } });
  send(at(12, "early", "stamp.sent"));
  send({ id: "undated", type: "listing.pinned", sync: "media", data: { listing: "cup" } });
  send("not JSON");
  send({ type: "no.id" });
  assert.deepEqual(fired, [["now", 0], ["undated", 0]]);
  assert.equal(events.stateAt(events.date).likes, 3);
  player.parse(at(11, "undated", "listing.pinned", { listing: "cup" }));
  assert.equal(events.stateAt(events.date).pinned.listing, "cup", "not undone when the copy in the stream tells its place");
  show(12);
  assert.deepEqual(fired, [["now", 0], ["undated", 0], ["early", 0]]);
});

test("of a long broadcast the end is kept, and the state that the rest left", () => {
  const { events, player, fired, show } = page();
  show(0);
  const range = pin(1, "long", "cup");
  player.list({ event: range });
  for (let i = 0; i < 9000; i++) {
    player.parse(at(2 + i / 50, `s${i}`, "stamp.sent"));
    if (i % 1000 === 0) {
      player.list({ event: range });
      show(2 + i / 50);
    }
  }
  show(200);
  player.list({ event: range });
  show(201);
  assert.equal(fired.length, 9001);
  assert.equal(events.stateAt(events.date).pinned.listing, "cup");
  assert.equal(fired.filter(([id]) => id === "long").length, 1);
  assert.equal(new Set(fired.map(([id]) => id)).size, fired.length);
  player.parse(at(202, "end", "listing.unpinned"));
  show(202);
  assert.equal(events.stateAt(events.date).pinned, undefined);
});

test("one handler that throws keeps nothing else from happening", () => {
  const fired = [];
  const { player, show } = page({ onEvent: ({ id }) => { fired.push(id); if (id === "bad") throw new Error("the page's"); } });
  show(10);
  player.parse(at(11, "bad", "stamp.sent"), at(11, "good", "stamp.sent"));
  assert.throws(() => show(11));
  show(11.2);
  assert.deepEqual(fired, ["bad", "good"]);
});

test("Shaka Player: frames of emsg and attributes of ranges", () => {
  class Shaka extends EventTarget {
    playingDate = undefined;
    currentTime = 0;
    getPlayheadTimeAsDate() { return this.date ?? null; }
    getMediaElement() { return this; }
    tell(metadataType, payload, startTime, endTime) {
      this.dispatchEvent(Object.assign(new Event("metadataadded"), { metadataType, payload, startTime, endTime }));
    }
  }
  const player = new Shaka();
  delete player.playingDate;
  const { events, fired } = page({}, player);
  [player.date, player.currentTime] = [new Date(T0 + 10_000), 110];
  player.tell("org.id3", { key: "TXXX", description: "vitrine", data: JSON.stringify(pin(9, "p", "cup")) }, 109, 110);
  player.tell("org.id3", { key: "PRIV", data: new ArrayBuffer(8) }, 109, 110);
  player.tell("vitrine.listing.pinned", { key: "X-VITRINE", data: base64url(pin(9, "p", "cup")) }, 109, Infinity);
  mock.timers.tick(1);
  assert.deepEqual(fired, [["p", 1000]]);
  assert.equal(events.stateAt(T0 + 11_000).pinned.listing, "cup");
  player.tell("vitrine.listing.pinned", { key: "X-VITRINE", data: base64url(pin(9, "p", "cup")) }, 109, 111);
  assert.equal(events.stateAt(T0 + 11_000).pinned, undefined);
  events.detach();
  player.tell("org.id3", { key: "TXXX", data: JSON.stringify(pin(10, "q", "cup")) }, 110, 111);
  mock.timers.tick(200);
  assert.equal(fired.length, 1);
});

for (const [name, wrap] of [
  ["a media element", (player) => player],
  ["video.js", ({ textTracks, ...player }) => ({ ...player, textTracks: () => textTracks, get currentTime() { return () => player.now.second; } })],
]) {
  test(`metadata cues of ${name}, which tell the date too`, () => {
    const now = { second: 100 };
    const cues = [];
    const textTracks = [{ kind: "subtitles", mode: "showing" }, { kind: "metadata", mode: "disabled", cues }];
    const player = wrap({ textTracks, now, get currentTime() { return now.second; } });
    const { events, fired } = page({}, player);
    assert.deepEqual(textTracks.map(({ mode }) => mode), ["showing", "hidden"]);
    cues.push({ type: "org.id3", startTime: 101, endTime: 102, value: { key: "TXXX", info: "vitrine", data: JSON.stringify(pin(1, "p", "cup")) } });
    const range = { type: "com.apple.quicktime.HLS", startTime: 101, endTime: Infinity, value: { key: "X-VITRINE", data: base64url(pin(1, "p", "cup")) } };
    cues.push(range, { startTime: 101, endTime: 102, value: { key: "TIT2", data: "a title" } }, { startTime: 3, endTime: 4 });
    mock.timers.tick(200);
    assert.deepEqual([events.date, fired], [T0, []]);
    now.second = 101.5;
    mock.timers.tick(200);
    assert.deepEqual([events.date, fired], [T0 + 1500, [["p", 500]]]);
    range.endTime = 103;
    mock.timers.tick(200);
    const pinned = (second) => events.stateAt(T0 + second * 1000).pinned?.listing;
    assert.deepEqual([1, 2.9, 3].map(pinned), ["cup", "cup", undefined]);
  });
}

test("Safari's own start date counts", () => {
  const player = { textTracks: [], currentTime: 5, getStartDate: () => new Date(T0) };
  assert.equal(page({}, player).events.date, T0 + 5000);
});
