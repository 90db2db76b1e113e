// Settings of hls.js for viewers on mobile networks, where nothing else looks after the latency (README: "For phones").
export const PHONES = {
  lowLatencyMode: true,
  liveSyncDuration: 1.6, // seconds behind the live edge: a freeze of half a second, and what piles up in it
  maxLiveSyncPlaybackRate: 1.1, // back to there after a stall, while more than a second is buffered
  liveSyncOnStallIncrease: 0.5, // seconds more after each stall, up to a target duration
  backBufferLength: 10, // seconds kept behind: phones have little memory
};
