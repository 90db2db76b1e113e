// Two independent readers of low-latency playlists, asked about each text on standard input (a JSON array of strings).
// Answers a JSON array: per text, per reader, its complaints and what it read. Facts only; the verdict is in
// tests/it/oracle.rs.
//
// hls-parser judges: it knows the draft's demands on every tag it reads, in its lenient mode it tells all that are broken.
// m3u8-parser is what video.js plays by: it warns of what is missing or out of its bounds.

import { readFileSync } from 'node:fs';
import HLS from 'hls-parser';
import { Parser } from 'm3u8-parser';

HLS.setOptions({ strictMode: false, silent: false });

const range = (id, kind, start, event) => [id, kind, start.toISOString(), event];

function hlsParser(text) {
  const complaints = [];
  const log = console.error;
  console.error = (message) => complaints.push(String(message));
  try {
    const list = HLS.parse(text);
    if (!list || list.isMasterPlaylist) return { complaints, read: null };
    const parts = list.segments.flatMap((segment) => segment.parts);
    return {
      complaints,
      read: {
        target_duration: list.targetDuration,
        part_target: list.partTargetDuration,
        msn: list.mediaSequenceBase,
        skipped: list.skip,
        segments: list.segments.map((segment) => segment.uri).filter(Boolean),
        parts: parts.filter((part) => !part.hint).map((part) => part.uri),
        hint: parts.find((part) => part.hint)?.uri ?? null,
        reports: list.renditionReports.map((report) => [report.uri, report.lastMSN, report.lastPart]),
        // Of those in front of one segment it keeps the last.
        ranges: list.segments.filter((segment) => segment.dateRange).map(({ dateRange }) =>
          range(dateRange.id, dateRange.classId, dateRange.start, dateRange.attributes['X-VITRINE'])),
        ended: list.endlist,
      },
    };
  } catch (error) {
    return { complaints: [...complaints, `refused: ${error.message}`], read: null };
  } finally {
    console.error = log;
  }
}

function m3u8Parser(text) {
  const complaints = [];
  const parser = new Parser();
  parser.on('warn', (event) => complaints.push(event.message));
  parser.push(text);
  parser.end();
  const list = parser.manifest;
  if (list.playlists) return { complaints, read: null };
  const open = list.preloadSegment;
  const parts = [...list.segments, ...(open ? [open] : [])].flatMap((segment) => segment.parts ?? []);
  return {
    complaints,
    read: {
      target_duration: list.targetDuration,
      part_target: list.partTargetDuration,
      msn: list.mediaSequence,
      skipped: list.skip?.skippedSegments ?? 0,
      segments: list.segments.map((segment) => segment.uri),
      parts: parts.map((part) => part.uri),
      hint: open?.preloadHints?.find((hint) => hint.type === 'PART')?.uri ?? null,
      reports: (list.renditionReports ?? []).map((report) => [report.uri, report.lastMsn, report.lastPart]),
      ranges: list.dateRanges.map((it) => range(it.id, it.class, it.startDate, it.xVitrine)).sort(),
      ended: Boolean(list.endList),
    },
  };
}

const texts = JSON.parse(readFileSync(0, 'utf8'));
const answers = texts.map((text) => ({ 'hls-parser': hlsParser(text), 'm3u8-parser': m3u8Parser(text) }));
process.stdout.write(JSON.stringify(answers));
