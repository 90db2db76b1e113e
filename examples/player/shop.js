// The shop over the picture: the pinned product and its price, a flash sale running down, a notice, hearts and stamps, what
// is being sold. What is shown belongs to the picture on screen (vitrine-events.js): who seeks back sees the earlier product.
//
// The shapes of `data` are the demo's (examples/event_backend.mjs): title, price { amount in minor units, currency }, image,
// available. Texts of the shop are text here, never markup.

import { VitrineEvents } from "./vitrine-events.js";

/** Older than this when it is heard of, milliseconds, an event only changes the state: nobody cheers for yesterday. */
const CHEER_MS = 3000;
/** How long a badge of a sale stays, and hearts float, milliseconds. */
const SOLD_MS = 2600;
const FLOAT_MS = 2400;
/** More hearts than this at once are a cloud. */
const FLOATS_MAX = 24;
/** From here on it is told how few are left. */
const FEW = 5;

const $ = (id) => document.getElementById(id);

/** Fills the page's `#shop` by the events of whatever player is attached. */
export function openShop() {
  const events = new VitrineEvents({ onState: show, onEvent: cheer });
  setInterval(() => countDown(events.date), 200);
  return events;
}

let flashEnds = NaN;

function show({ pinned, flash, notice, viewers, likes }) {
  setText($("notice"), notice?.text);
  setText($("viewers"), viewers === undefined ? "" : `${compact(viewers)} watching`);
  setText($("likes"), likes === undefined ? "" : `♥ ${compact(likes)}`);
  $("product").hidden = !pinned;
  if (!pinned) return;
  const onSale = flash && (!flash.listing || flash.listing === pinned.listing);
  const soldOut = pinned.available === 0;
  flashEnds = onSale ? flash.until : NaN;
  setText($("product-title"), pinned.title ?? pinned.listing);
  setText($("product-price"), money(onSale ? flash.price : pinned.price));
  setText($("product-was"), onSale && flash.price ? money(pinned.price) : "");
  setText($("product-stock"), soldOut ? "Sold out" : pinned.available <= FEW ? `Only ${pinned.available} left` : "");
  $("product").toggleAttribute("data-sale", Boolean(onSale));
  $("product").toggleAttribute("data-sold-out", soldOut);
  $("product-image").style.backgroundImage = pinned.image ? `url(${JSON.stringify(String(pinned.image))})` : "";
  $("product-image").style.setProperty("--hue", hue(pinned.listing));
  if ($("product").dataset.id !== pinned.id) {
    $("product").dataset.id = pinned.id;
    $("product").getAnimations().forEach((animation) => { animation.cancel(); animation.play(); });
  }
}

function countDown(date) {
  const seconds = Math.max(0, Math.ceil((flashEnds - date) / 1000));
  setText($("product-clock"), seconds ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "");
}

function cheer({ type, data = {} }, lateMs) {
  if (lateMs > CHEER_MS) return;
  if (type === "stamp.sent") float(data.stamp ?? "★");
  if (type === "like.count") float("♥");
  if (type === "sale.happened") {
    const badge = add($("sold"), `Sold · ${data.title ?? data.listing ?? ""}`, SOLD_MS);
    badge.className = "badge";
  }
}

function float(text) {
  if ($("floats").childElementCount >= FLOATS_MAX) return;
  const heart = add($("floats"), text, FLOAT_MS);
  heart.style.setProperty("--sway", `${Math.round(40 * Math.random() - 20)}px`);
  heart.style.setProperty("--hue", Math.round(340 + 60 * Math.random()));
}

function add(parent, text, ms) {
  const element = document.createElement("span");
  element.textContent = text;
  parent.append(element);
  setTimeout(() => element.remove(), ms);
  return element;
}

function setText(element, text = "") {
  if (element.textContent !== text) element.textContent = text;
}

/** An amount in minor units, as this viewer writes money. */
function money(price) {
  if (!price?.currency) return "";
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency: price.currency });
  return format.format(price.amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

const compact = (number) => new Intl.NumberFormat(undefined, { notation: "compact" }).format(number);

/** A colour for what has no picture. */
const hue = (name = "") => [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 7);
