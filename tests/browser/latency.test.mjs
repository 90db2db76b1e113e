// The rules of examples/player/latency.js, without a browser: `node --test tests/browser/latency.test.mjs`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LatencyGoal, playbackRate } from "../../examples/player/latency.js";

const HOLD_BACK = 0.645;

test("a quick network needs no more than the server's hold-back", () => {
  const network = new LatencyGoal();
  network.answered(0.001);
  for (let at = 0; at < 60; at += 0.2) network.arrived(at, 0.23);
  assert.ok(network.goal(60, HOLD_BACK) < HOLD_BACK + 0.02);
  assert.ok(network.goal(60, HOLD_BACK) >= HOLD_BACK);
});

test("a long round trip is kept in reserve before anything has happened", () => {
  const network = new LatencyGoal();
  network.answered(0.3); // the first answer, with a TLS handshake before it
  const cautious = network.goal(0, HOLD_BACK);
  network.answered(0.08);
  const informed = network.goal(1, HOLD_BACK);
  assert.ok(cautious > informed && informed > HOLD_BACK + 0.3);
  network.answered(9);
  assert.equal(network.goal(2, HOLD_BACK), informed, "the quickest answer counts");
});

test("the goal rises with the first late part, before any stall", () => {
  const network = new LatencyGoal();
  network.arrived(0, 0.4);
  network.arrived(30, 1.4);
  assert.ok(network.goal(30, HOLD_BACK) > 1.4);
});

test("it sinks slowly, so that a pause each minute stays covered", () => {
  const network = new LatencyGoal();
  let covered = 0;
  for (let at = 0; at < 600; at += 0.4) {
    const behind = at % 60 < 0.4 ? 1.4 : 0.4;
    if (behind > 1 && network.goal(at, HOLD_BACK) > behind) covered += 1;
    network.arrived(at, behind);
  }
  assert.equal(covered, 9, "all but the first, which nothing foretold");
  assert.equal(network.goal(4000, HOLD_BACK), HOLD_BACK, "in the end it forgets");
});

test("a stall raises it by a step, and nothing raises it without end", () => {
  const network = new LatencyGoal();
  network.stalled(0, 1);
  assert.ok(network.goal(0, HOLD_BACK) > 1.2);
  for (let at = 0; at < 100; at++) network.stalled(at, 60);
  assert.ok(network.goal(100, HOLD_BACK) <= 4);
  assert.equal(network.goal(100, 6), 6, "but the server's word is above it");
});

test("speed makes good the difference either way, gently", () => {
  assert.equal(playbackRate(0.01, 2, 1.1), 1);
  assert.equal(playbackRate(5, 2, 1.1), 1.1);
  assert.equal(playbackRate(5, 0.2, 1.1), 1, "not out of an empty buffer");
  assert.equal(playbackRate(-5, 0.2, 1.1), 0.95);
  assert.ok(playbackRate(-0.06, 1, 1.1) > 0.95);
  assert.equal(playbackRate(5, 2, 1), 1, "off");
});
