// A shop that never closes: pins one product after another, lowers prices, sells, and cheers, in a live stream.
//
//   node event_backend.mjs http://127.0.0.1:8081 demo        # TOKEN=... where the control API wants one
//
// Events go to `POST /v1/streams/<id>/events`, what holds now to `PUT .../state`, for those who come late (docs/events.md).
// Nothing is sent while the stream is not live. Node's own modules only.

const [control = "http://127.0.0.1:8081", stream = "demo"] = process.argv.slice(2);
const { TOKEN } = process.env;

/** Between two steps of the show, milliseconds. */
const STEP_MS = 2000;
/** How long a flash sale lasts. */
const FLASH_MS = 8000;
/** A call without an answer is over after this long; the next attempt comes after that. */
const [TIMEOUT_MS, RETRY_MS] = [5000, 1000];

const CURRENCY = "JPY";
const products = [
  { listing: "lst_bowl", title: "Hasami bowl, sky", amount: 3800, available: 12 },
  { listing: "lst_lamp", title: "Paper lamp No. 3", amount: 12400, available: 4 },
  { listing: "lst_scarf", title: "Indigo scarf", amount: 6900, available: 30 },
  { listing: "lst_knife", title: "Santoku knife, 165 mm", amount: 15800, available: 2 },
].map((product) => ({ ...product, version: 1, left: product.available }));

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const run = Date.now().toString(36);
let [count, seq, likes, viewers] = [0, 0, 40, 118];

/** One call; what it answered, or null when the stream is not there to hear it. */
async function call(method, path, body) {
  const headers = { "content-type": "application/json", ...(TOKEN && { authorization: `Bearer ${TOKEN}` }) };
  const url = `${control}/v1/streams/${stream}/${path}`;
  const answer = await fetch(url, { method, headers, body: JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => null);
  if (!answer || [404, 409, 429, 503].includes(answer.status)) return null;
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/**
 * Places one event. What is state has a number and is posted until it is placed, under the same id: however often that arrives,
 * it is placed once. The rest is of the moment.
 */
async function place(type, data, more = {}) {
  const isState = /^(listing|price|flash|notice|show)/.test(type);
  const event = { id: `evt_${run}_${++count}`, type, ...(isState && { seq: ++seq }), data, ...more };
  let placed = await call("POST", "events", event);
  while (isState && !placed) {
    await sleep(RETRY_MS);
    placed = await call("POST", "events", event);
  }
  return placed;
}

const price = ({ amount }) => ({ amount, currency: CURRENCY });
const shown = (product) => ({
  listing: product.listing, title: product.title, price: price(product), price_version: product.version, available: product.left, stock_version: product.available - product.left,
});

async function sell(product) {
  if (product.left === 0) return;
  product.left -= 1;
  await place("sale.happened", { listing: product.listing, title: product.title });
  await place("stock.changed", { listing: product.listing, available: product.left, stock_version: product.available - product.left });
}

async function cheer() {
  likes += 1 + Math.floor(4 * Math.random());
  viewers += Math.floor(7 * Math.random()) - 3;
  await place("like.count", { count: likes });
  await place("viewer.count", { count: viewers });
  if (Math.random() < 0.6) await place("stamp.sent", { stamp: ["★", "♪", "✿", "☺"][Math.floor(4 * Math.random())] });
}

let pinned = null;
/** What is done with one product, a step at a time. */
const acts = [
  async (product) => {
    const placed = await place("listing.pinned", shown(product), pinned ? { close: pinned.id } : {});
    pinned = { id: placed.id, since: Date.parse(placed.program_date_time), ...shown(product) };
    await call("PUT", "state", { seq, data: { pinned, likes, viewers } });
  },
  sell,
  (product) => place("flash.started", { listing: product.listing, price: { amount: Math.round(product.amount * 0.008) * 100, currency: CURRENCY } }, { duration_ms: FLASH_MS }),
  sell,
  sell,
  async (product) => {
    product.amount -= 100;
    product.version += 1;
    await place("price.changed", { listing: product.listing, price: price(product), price_version: product.version });
  },
];

for (let round = 0; ; round++) {
  const product = products[round % products.length];
  if (product.left === 0) product.left = product.available += product.available;
  if (round % products.length === 1) await place("notice.posted", { text: "Free shipping tonight" }, { duration_ms: 3 * STEP_MS });
  for (const act of acts) {
    await act(product);
    await cheer();
    await sleep(STEP_MS);
  }
}
