// Plays a stream, has it taken down, and writes down what was on screen: before, and when the frame went.
//
//   node takedown.mjs <player page URL> <control URL of the stream's end> <bearer token> <out.json>
//
// The picture is judged by its pixels, in screenshots of the page: a video element may say that it is empty and still show
// its last frame. The file holds facts, no verdict. Exit: 0 the report is written; 1 no picture came; 64 wrong arguments.

import { writeFile } from "node:fs/promises";
import { openPage } from "./chromium.mjs";

const [url, control, bearer, out] = process.argv.slice(2);
if (!out) {
  console.error("usage: node takedown.mjs <player page URL> <control URL of the stream's end> <bearer token> <out.json>");
  process.exit(64);
}

const { browser, page } = await openPage({ width: 640, height: 480 });
const judge = await browser.newPage();
const asked = [];
page.on("response", (response) => asked.push({ url: response.url(), status: response.status() }));

/** The share of the player that is brighter than a dark page, by a screenshot. */
async function bright() {
  const shot = await page.locator("#stage").screenshot({ type: "jpeg", quality: 80 });
  return judge.evaluate(async (source) => {
    const image = await createImageBitmap(await (await fetch(source)).blob());
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += (data[i] + data[i + 1] + data[i + 2]) / 3 > 64;
    return count / (data.length / 4);
  }, `data:image/jpeg;base64,${shot.toString("base64")}`);
}

await page.goto(url);
const played = await page
  .waitForFunction(() => window.vitrine?.video.currentTime > 1, null, { timeout: 20_000, polling: 50 })
  .then(() => true, () => false);
const before = await bright();
// In the page, so that no screenshot slows the clock: the frame is gone when the element has none.
await page.evaluate(() => {
  const look = () => {
    const { video } = window.vitrine;
    if (video.videoWidth === 0 || video.readyState === 0) window.goneAt = Date.now();
    else requestAnimationFrame(look);
  };
  look();
});
const calledAt = Date.now();
const answer = await fetch(control, {
  method: "POST",
  headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
  body: JSON.stringify({ takedown: true, reason: "a test" }),
});
const answeredAt = Date.now();
await page.waitForFunction(() => window.goneAt, null, { timeout: 20_000, polling: 20 }).catch(() => {});
const goneAt = await page.evaluate(() => window.goneAt ?? null);
const after = await bright();
const report = {
  played,
  answer: { status: answer.status, text: await answer.text(), tookMs: answeredAt - calledAt },
  goneAfterMs: goneAt && goneAt - calledAt,
  bright: { before, after },
  title: await page.textContent("#title"),
  state: await page.evaluate(() => document.body.dataset.state),
  asked,
};
await writeFile(out, JSON.stringify(report, null, 2) + "\n");
await browser.close();
process.exit(played ? 0 : 1);
