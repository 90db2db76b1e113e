// Starts the system's Chromium for a test or a proof; CHROMIUM names another one. Nothing is downloaded.

import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const FLAGS = [
  "--no-sandbox", // containers and root have no user namespace for it
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  // Without these Chromium talks to its maker's servers, also during a measurement.
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
  // A page that a test makes up has no address, and would be kept from other ports of this machine.
  "--disable-features=BlockInsecurePrivateNetworkRequests,LocalNetworkAccessChecks,PrivateNetworkAccessSendPreflights",
];

/** A fresh browser with an empty profile, and one page of `viewport` pixels in it. */
export async function openPage(viewport = { width: 1280, height: 860 }) {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error("no Chromium found: run conf/install.sh test, or set CHROMIUM");
  const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  const page = await browser.newPage({ viewport, ignoreHTTPSErrors: true });
  return { browser, page };
}
