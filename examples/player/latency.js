// How far behind the live edge to play, and how fast, so that this network's bad moments pass unseen.
//
// The server's hold-back is enough where requests are answered at once. A radio link adds what it adds: a round trip to
// each request, and pauses of half a second when a packet is sent again or the telephone changes cells. Waiting for the
// first stall to find out is one stall too many, and going by the average is no help, since only the worst part counts:
//
// - At the start nothing is known but the time the server took to answer. Networks with long round trips are those that
//   pause, and TCP repairs a loss in multiples of a round trip: so many of them are kept in reserve.
// - Each part that arrives tells how far behind the edge a player must be to have had it in time. The goal rises to the
//   worst of them at once, before the buffer is empty, and by a step more after a stall.
// - It sinks slowly, because what happened will happen again: a pause each minute stays covered by the margin.
// - Speed makes good the difference either way, so little that nobody hears it. No jump, no pause.
//
// Pure: no clock, no player. Seconds everywhere; `at` is any clock that runs evenly. Tested by tests/browser/latency.test.mjs.

/** Round trips in reserve before anything else is known. */
const ROUND_TRIPS = 5;
/** What that may come to at most; a slow answer may have other reasons. */
const RESERVE_MAX_S = 1;
/** Kept beyond the worst arrival seen: a part of 200 ms, the grain of arrivals. */
const MARGIN_S = 0.2;
/** More for each stall, whatever was measured. */
const STALL_STEP_S = 0.3;
/** What is learned sinks by this much each second: by less than the margin each minute. */
const SINK = 0.002;
/** Nobody plays farther behind than this for the network's sake. */
const GOAL_MAX_S = 4;
/** Nearer to the goal than this is there. */
const SLACK_S = 0.05;
/** Less than this in the buffer is never spent on catching up: two parts of 200 ms. */
const BUFFER_MIN_S = 0.4;
/** How slowly to play at least while the buffer fills. */
const RATE_MIN = 0.95;

export class LatencyGoal {
  #roundTrip = null;
  #learned = 0;
  #learnedAt = 0;

  /** The server took `seconds` for the first byte of an answer that it did not hold back. The quickest counts. */
  answered(seconds) {
    if (seconds > 0) this.#roundTrip = Math.min(this.#roundTrip ?? Infinity, seconds);
  }

  /** A part is there that a player `behind` the live edge would just have been in time to play. */
  arrived(at, behind) {
    this.#learn(at, behind + MARGIN_S);
  }

  /** The buffer ran empty, `behind` the live edge. */
  stalled(at, behind) {
    this.#learn(at, behind + STALL_STEP_S);
  }

  /** How far behind the live edge to play; `holdBack` is the server's. */
  goal(at, holdBack) {
    const reserve = Math.min(RESERVE_MAX_S, ROUND_TRIPS * (this.#roundTrip ?? 0));
    return Math.max(holdBack + reserve, Math.min(GOAL_MAX_S, this.#learnedBy(at)));
  }

  #learnedBy(at) {
    return this.#learned - SINK * (at - this.#learnedAt);
  }

  #learn(at, goal) {
    if (!(goal > this.#learnedBy(at))) return;
    [this.#learned, this.#learnedAt] = [Math.min(GOAL_MAX_S, goal), at];
  }
}

/** The speed that leads to the goal from `behind` too much (or, negative, too little), with `buffered` ahead. */
export function playbackRate(behind, buffered, rateMax) {
  if (rateMax <= 1) return 1;
  if (behind > SLACK_S) return buffered > BUFFER_MIN_S ? Math.min(rateMax, 1 + behind / 2) : 1;
  if (behind < -SLACK_S) return Math.max(RATE_MIN, 1 + behind / 2);
  return 1;
}
