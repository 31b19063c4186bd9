// The summary of a run: a table of the transports, the thresholds, and the same as JSON.

import { EXEC, SCENARIO, URLS, VUS, DURATION_S, SAY_EVERY_MS, GROUP, POLL_MS, CONTENT_BYTES } from './plan.js';

const COLUMNS = [
  ['transport', (it) => it.transport],
  ['sent', (it) => it.messages_sent],
  ['received', (it) => it.messages_received],
  ['p50 ms', (it) => it.latency_p50_ms],
  ['p95 ms', (it) => it.latency_p95_ms],
  ['p99 ms', (it) => it.latency_p99_ms],
  ['bytes/msg', (it) => it.bytes_per_message],
  ['polls/msg', (it) => it.polls_per_message],
  ['empty polls', (it) => it.empty_poll_ratio],
  ['lost', (it) => it.lost],
  ['repeated', (it) => it.repeated],
  ['reordered', (it) => it.reordered],
];

const WHY = { unsettled: ': visits that ended before they were compared with history' };

const FORMATS = {
  'p50 ms': (value) => value.toFixed(1),
  'p95 ms': (value) => value.toFixed(1),
  'p99 ms': (value) => value.toFixed(1),
  'bytes/msg': (value) => value.toFixed(0),
  'polls/msg': (value) => value.toFixed(2),
  'empty polls': (value) => `${(100 * value).toFixed(0)} %`,
};

/** Where the JSON goes, and that of earlier runs is. */
const fileOf = (script) => `${__ENV.RESULTS || '.'}/${script}-${SCENARIO}.json`;
const SETTINGS = { VUS, DURATION_S, SAY_EVERY_MS, GROUP, CONTENT_BYTES, POLL_MS };

/** Returns the `handleSummary` of a script. */
export function summary(script) {
  const others = Object.keys(EXEC).filter((other) => script in EXEC && script !== other);
  const earlier = others.map(earlierRun).filter(Boolean);
  return (data) => {
    const report = reportOf(script, data);
    return { stdout: text(report, earlier), [fileOf(script)]: `${JSON.stringify(report, null, 2)}\n` };
  };
}

/** The row of a script that was run with the same settings before, if there is one. */
function earlierRun(script) {
  if (!__ENV.RESULTS) return undefined;
  let report;
  try {
    report = JSON.parse(open(fileOf(script)));
  } catch (_) {
    return undefined;
  }
  const isSame = JSON.stringify(report.settings) === JSON.stringify(SETTINGS);
  return isSame ? { ...report.transports[0], transport: `${script} (before)` } : undefined;
}

function reportOf(script, { metrics, state, options }) {
  const here = Object.keys(EXEC).filter((transport) => metrics[`messages_received{transport:${transport}}`]);
  const transports = here.map((transport) => {
    const values = (metric) => (metrics[`${metric}{transport:${transport}}`] || { values: {} }).values;
    const latency = values('delivery_latency_ms');
    const polls = values('empty_poll_ratio');
    const received = values('messages_received').count;
    return {
      transport,
      messages_sent: values('messages_sent').count,
      messages_received: received,
      // k6 reports 0 for a metric without samples.
      latency_p50_ms: latency.med || undefined,
      latency_p95_ms: latency['p(95)'] || undefined,
      latency_p99_ms: latency['p(99)'] || undefined,
      bytes_per_message: values('bytes_per_message').avg || undefined,
      polls_per_message: polls.passes === undefined ? undefined : (polls.passes + polls.fails) / received,
      empty_poll_ratio: polls.rate,
      lost: values('lost').count,
      repeated: values('repeated').count,
      reordered: values('reordered').count,
    };
  });
  const thresholds = Object.entries(metrics).flatMap(([metric, { thresholds, values }]) =>
    Object.entries(thresholds || {}).map(([limit, { ok }]) => ({ metric, limit, ok, value: values[limit.split(/[<>=]/)[0]] })));
  const retried = metrics.retried ? metrics.retried.values.count : 0;
  return { script, scenario: SCENARIO, urls: URLS, settings: SETTINGS, took_ms: state.testRunDurationMs, retried, transports, thresholds };
}

function text({ script, scenario, urls, settings, took_ms, retried, transports, thresholds }, earlier) {
  const cell = (name, value) => (value === undefined || Number.isNaN(value) ? '–' : FORMATS[name] ? FORMATS[name](value) : `${value}`);
  const rows = [COLUMNS.map(([name]) => name), ...[...transports, ...earlier].map((it) => COLUMNS.map(([name, value]) => cell(name, value(it))))];
  const widths = COLUMNS.map((_, at) => Math.max(...rows.map((row) => row[at].length)));
  const line = (row) => row.map((it, at) => (at ? it.padStart(widths[at]) : it.padEnd(widths[at]))).join('  ');
  const table = rows.map(line);
  table.splice(1, 0, widths.map((width) => '─'.repeat(width)).join('  '));
  const broken = thresholds.filter(({ ok }) => !ok);
  const verdict = broken.length
    ? broken.map(({ metric, limit, value }) => `✗ ${metric}: ${value}, not ${limit}${WHY[metric] || ''}`)
    : [`✓ all ${thresholds.length} thresholds; nothing lost, repeated or out of order`];
  const { VUS: people, SAY_EVERY_MS: every, GROUP: group } = settings;
  return [
    '',
    `${script}, ${scenario}: ${people} virtual users in groups of ${group}, each sends every ${every} ms; ` +
      `${(took_ms / 1000).toFixed(0)} s against ${urls.join(', ')}`,
    '',
    ...table,
    '',
    ...(retried ? [`${retried} requests were repeated`] : []),
    ...verdict,
    '',
    '',
  ].join('\n');
}
