/**
 * What happens in the shop, at the picture it belongs to: docs/events.md, "In the player".
 *
 *   const events = new VitrineEvents({ onEvent(event, lateMs) {}, onState(state, date) {} });
 *   events.attach(player); // hls.js, Shaka Player, video.js or <video>, before it loads; again after a reload
 *   events.stateAt(date);
 *
 * An event comes many times: in every rendition, as a range, over a socket, in a new epoch. One id is one event.
 * Dates are milliseconds since 1970 by EXT-X-PROGRAM-DATE-TIME, NaN while no picture has one.
 *
 * @typedef {{ id: string, type: string, seq?: number, sync?: "media" | "now", pdt?: string, duration_ms?: number,
 *   close?: string, data?: object }} Event
 * @typedef {{ id: string, since: number, until?: number }} Item  with the event's `data`
 * @typedef {{ show?: Item, pinned?: Item, flash?: Item, coupon?: Item, slide?: Item, notice?: Item, likes?: number,
 *   viewers?: number, listings: Record<string, object>, seq?: number }} State  also the `data` of `state.repeat`
 * @typedef {object} Options
 * @property {(event: Event, lateMs: number) => void} [onEvent]  once per id: at its picture, at once if that has passed
 * @property {(state: State, date: number) => void} [onState]  when what holds at the picture changed, by seeking too
 * @property {(date: number) => Promise<State>} [snapshot]  asked when a `seq` is missing
 * @property {EventTarget} [socket]  WebSocket or EventSource, an event per message: early copies and `sync: "now"`
 */

/** Events kept, 80 s of the most there may be; of those before, the state they left. */
const KEPT_MAX = 4096;
/** How often to look at the clock when no event is near; between two snapshots. */
const [LOOK_MS, SNAPSHOT_MS] = [200, 1000];

const STARTS = {
  "show.started": "show", "listing.pinned": "pinned", "flash.started": "flash",
  "coupon.pinned": "coupon", "slide.changed": "slide", "notice.posted": "notice",
};
const ENDS = { "show.ended": "show", "listing.unpinned": "pinned", "listing.removed": "pinned", "flash.ended": "flash" };
const COUNTS = { "like.count": "likes", "viewer.count": "viewers" };
const SLOTS = Object.values(STARTS);
const VERSIONS = [["price_version", "price"], ["stock_version", "available", "level"]];
const RANGE = "com.apple.quicktime.HLS";

export class VitrineEvents {
  #options;
  #known = new Map(); // { event, at, end, fired } by id, the last seen last
  #line = []; // the same by date
  #base = { listings: {} };
  #source;
  #timer;
  #shown;
  #seq = 0;
  #gap = false;
  #asking = false;

  /** @param {Options} [options] */
  constructor(options = {}) {
    this.#options = options;
    options.socket?.addEventListener("message", ({ data }) => this.add(decode(data)));
  }

  attach(player) {
    this.detach();
    const from = "playingDate" in player ? fromHls : player.getPlayheadTimeAsDate ? fromShaka : fromTracks;
    this.#source = from(player, (data, end) => this.add(decode(data), end));
    this.#look();
  }

  /** Leaves the player; what is known stays known. */
  detach() {
    clearTimeout(this.#timer);
    this.#source?.close?.();
    this.#source = null;
  }

  /** Of the picture on screen. */
  get date() {
    return this.#source?.date() ?? NaN;
  }

  /** Takes a copy of an event, whose range ends at `end`; returns its date, or NaN. */
  add(event, end) {
    if (!event?.id || !event.type) return NaN;
    const placed = event.sync === "now" ? NaN : Date.parse(event.pdt);
    let entry = this.#known.get(event.id);
    if (!entry) this.#put((entry = { event, at: placed || this.date || Date.now() }));
    this.#known.delete(event.id);
    this.#known.set(event.id, entry);
    if (placed < entry.at) { // never later: what was shown is not undone
      entry.at = placed;
      this.#line.sort(byDate);
    }
    if (end) entry.end = end;
    if (!placed) this.#fire(entry, 0);
    return placed;
  }

  /** @returns {State} */
  stateAt(date) {
    const state = structuredClone(this.#base);
    for (const entry of this.#line) if (entry.at <= date) reduce(state, entry);
    for (const slot of SLOTS) if (state[slot]?.until <= date) delete state[slot];
    const { pinned, listings } = state;
    if (pinned) state.pinned = { ...pinned, ...listings[pinned.listing], id: pinned.id };
    return state;
  }

  #look = () => {
    this.#source.look?.();
    const { date } = this;
    const ahead = this.#line.find(({ at }) => at > date);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, Math.min(LOOK_MS, Math.max(ahead?.at - date || LOOK_MS, 16)));
    if (!date) return;
    for (const entry of [...this.#line]) if (entry.at <= date) this.#fire(entry, date - entry.at);
    if (this.#gap && !this.#asking) this.#ask(date);
    const state = this.stateAt(date);
    const shown = JSON.stringify(state);
    if (shown !== this.#shown) this.#options.onState?.(state, date);
    this.#shown = shown;
  };

  #fire(entry, lateMs) {
    const { event, fired } = entry;
    if (fired) return;
    entry.fired = true;
    if (event.seq > this.#seq) {
      this.#gap ||= event.seq > this.#seq + 1 && event.type !== "state.repeat";
      this.#seq = event.seq;
    }
    this.#options.onEvent?.(event, lateMs);
  }

  async #ask(date) {
    this.#gap = false;
    this.#asking = true;
    try {
      const data = await this.#options.snapshot?.(date);
      if (data) this.#put({ event: { type: "state.repeat", seq: data.seq, data }, at: date, fired: true });
    } catch {
      // `state.repeat` or the next gap will tell.
    } finally {
      setTimeout(() => { this.#asking = false; }, SNAPSHOT_MS);
    }
  }

  #put(entry) {
    this.#line.push(entry);
    this.#line.sort(byDate);
    if (this.#line.length > KEPT_MAX) reduce(this.#base, this.#line.shift());
    if (this.#known.size > KEPT_MAX) this.#known.delete(this.#known.keys().next().value);
    clearTimeout(this.#timer);
    if (this.#source) this.#timer = setTimeout(this.#look);
  }
}

const byDate = (a, b) => a.at - b.at || a.event.seq - b.event.seq;

function reduce(state, { event: { id, type, seq, close, duration_ms, data }, at, end }) {
  data ??= {};
  const { listings } = state;
  const merge = ([listing, told]) => {
    const known = listings[listing] ?? {};
    const next = (listings[listing] = { ...known, ...told });
    for (const names of VERSIONS) if (told[names[0]] < known[names[0]]) for (const name of names) next[name] = known[name];
  };
  if (type === "state.repeat") {
    if ((seq ?? -1) < state.seq) return; // the stream has told more
    for (const slot of SLOTS) delete state[slot];
    Object.assign(state, data, { seq: seq ?? state.seq, listings });
    Object.entries(data.listings ?? {}).forEach(merge);
    return;
  }
  const starts = STARTS[type];
  const ends = ENDS[type];
  if (seq || starts || ends) state.seq = Math.max(state.seq ?? 0, seq ?? 0);
  for (const slot of SLOTS) {
    const held = state[slot];
    if (held && (close ? held.id === close : slot === ends && (data.listing ?? held.listing) === held.listing)) delete state[slot];
  }
  const listing = data.listing ?? data.sku;
  if (listing && /^(listing|price|stock)/.test(type)) merge([listing, data]);
  if (type === "listing.removed") delete listings[listing];
  if (COUNTS[type]) state[COUNTS[type]] = data.count;
  if (starts) state[starts] = { ...data, id, since: at, until: end ?? (duration_ms ? at + duration_ms : undefined) };
}

const utf8 = (bytes) => new TextDecoder().decode(bytes);

/** The event in an ID3 tag, in JSON, or in JSON as base64url. */
function decode(data) {
  try {
    if (data.subarray) data = fromId3(data);
    if (data[0] !== "{") data = utf8(Uint8Array.from(atob(data.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt()));
    return JSON.parse(data);
  } catch {
    return null;
  }
}

/** Our TXXX frame (ID3v2.4: headers of ten bytes, sizes in four bytes of seven bits). */
function fromId3(tag) {
  for (let at = 10, end; at < tag.length; at = end) {
    end = at + 10 + tag.subarray(at + 4, at + 8).reduce((size, byte) => size * 128 + byte);
    const found = utf8(tag.subarray(at, end)).match(/^TXXX.{7}vitrine\0(.*)/s);
    if (found) return found[1];
  }
}

/** What hls.js parses, whatever becomes of its cues. */
function fromHls(hls, add) {
  const parsed = (_, { samples }) => samples.forEach(({ data }) => add(data));
  const updated = (_, { details }) => Object.values(details.dateRanges).forEach(({ attr, endDate }) => add(attr["X-VITRINE"], endDate?.getTime()));
  hls.on("hlsFragParsingMetadata", parsed);
  hls.on("hlsLevelUpdated", updated);
  return {
    date: () => hls.playingDate?.getTime(),
    close() {
      hls.off("hlsFragParsingMetadata", parsed);
      hls.off("hlsLevelUpdated", updated);
    },
  };
}

/** What Shaka Player parses, if `mediaSource.dispatchAllEmsgBoxes` is set. */
function fromShaka(player, add) {
  const date = () => player.getPlayheadTimeAsDate()?.getTime();
  const added = ({ metadataType, endTime, payload }) =>
    add(payload.data, metadataType !== "org.id3" && endTime < Infinity ? date() + (endTime - player.getMediaElement().currentTime) * 1000 : 0);
  player.addEventListener("metadataadded", added);
  return { date, close: () => player.removeEventListener("metadataadded", added) };
}

/** The cues of a native player (Safari) or of video.js. */
function fromTracks(player, add) {
  const read = (name) => player[name].call ? player[name]() : player[name];
  const dates = new WeakMap();
  let start = NaN;
  return {
    date: () => (player.getStartDate?.().getTime() || start) + read("currentTime") * 1000,
    look() {
      for (const track of Array.from(read("textTracks"))) {
        if (track.kind !== "metadata") continue;
        track.mode = "hidden"; // a disabled one has no cues
        for (const cue of Array.from(track.cues ?? [])) {
          const { startTime, endTime, value } = cue;
          let date = dates.get(cue);
          if (!date) dates.set(cue, (date = add(value?.data)));
          else if (cue.type === RANGE && endTime < 1e9) add(value.data, date + (endTime - startTime) * 1000);
          // Both clocks, by the last event before the picture, or the first.
          if (date && !(start && startTime > read("currentTime"))) start = date - startTime * 1000;
        }
      }
    },
  };
}
