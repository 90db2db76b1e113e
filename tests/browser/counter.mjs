// Reads the machine clock that conf/testcard.sh burns into the picture (its layout is described there).
//
// `readCounter` is sent into the page as text, so it must not refer to anything outside itself.

/** Both values count modulo this: 24 bits. */
export const MODULUS = 2 ** 24;

/**
 * The clock in the frame a video element shows now: `{ frame, wallMs }`, both modulo 2^24; `null` when the picture has
 * no readable strip, because it is another picture or because a cell was lost to compression.
 */
export function readCounter(video) {
  const CELLS = 32;
  const SIDE = 8; // pixels per cell of the canvas
  const width = video.videoWidth;
  if (!width) return null;
  const canvas = (globalThis.vitrineStrip ??= new OffscreenCanvas(CELLS * SIDE, 2 * SIDE));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0, width, width / 16, 0, 0, canvas.width, canvas.height);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  // The middle of a cell: its rim is where codecs and scalers smear.
  const brightness = (row, cell) => {
    let sum = 0;
    for (let y = 3; y < 5; y++) for (let x = 3; x < 5; x++) sum += data[4 * ((row * SIDE + y) * canvas.width + cell * SIDE + x) + 1];
    return sum / 4;
  };
  const value = (row) => {
    const white = Math.min(brightness(row, 0), brightness(row, 31));
    const black = Math.max(brightness(row, 1), brightness(row, 30));
    if (white - black < 64) return null;
    let word = 0;
    for (let cell = 2; cell < 30; cell++) word = word * 2 + (brightness(row, cell) > (white + black) / 2 ? 1 : 0);
    const value = Math.floor(word / 16);
    return value % 15 === word % 16 ? value : null;
  };
  const [frame, wallMs] = [value(0), value(1)];
  return frame === null || wallMs === null ? null : { frame, wallMs };
}

/** The age, in milliseconds, of a picture stamped `wallMs` and seen at `nowMs` (since 1970) on the same machine's clock. */
export function ageMs(wallMs, nowMs) {
  return (((nowMs - wallMs) % MODULUS) + MODULUS) % MODULUS;
}
