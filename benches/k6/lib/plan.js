// The plan of a run: the environment, the four scenarios, and the thresholds.

const env = (name, otherwise) => {
  const value = Number(__ENV[name] || otherwise);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name}=${__ENV[name]}: not a number`);
  return value;
};

/** The scenario: `steady`, `ramp`, `spike` or `soak`. */
export const SCENARIO = __ENV.SCENARIO || 'steady';
/** Where the server is: one URL or several, of nodes. */
export const URLS = (__ENV.BASE_URL || 'http://127.0.0.1:8080').split(',').map((url) => url.trim().replace(/\/$/, ''));
/** Whether to ask the first of them which nodes there are. */
export const DISCOVER = __ENV.DISCOVER === '1';
/** At most so many people at a time. */
export const VUS = env('VUS', 20);
/** How long the scenario lasts, without what it takes to settle. */
export const DURATION_S = env('DURATION_S', SCENARIO === 'soak' ? 600 : 30);
/** How long a session lives before what it got is held against history, and another one is opened. */
export const VISIT_S = env('VISIT_S', 10);
/** The mean pause between two messages of a virtual user. */
export const SAY_EVERY_MS = env('SAY_EVERY_MS', 1000);
/** People in a channel. */
export const GROUP = env('GROUP', 5);
/** How long a message is, at least. */
export const CONTENT_BYTES = env('CONTENT_BYTES', 128);
/** How long a short poller rests between two polls. */
export const POLL_MS = env('POLL_MS', 1000);
/** How long a long poll may wait. */
export const WAIT_MS = env('WAIT_MS', 10000);
/** How long what history has may be on its way to a session before it counts as lost. */
export const SETTLE_S = env('SETTLE_S', 30);
/** 95 of 100 messages arrive within this (short polling: and the time between two polls). */
export const P95_MS = env('P95_MS', 2000);

const shapes = {
  steady: (vus) => ({ executor: 'constant-vus', vus, duration: `${DURATION_S}s` }),
  soak: (vus) => ({ executor: 'constant-vus', vus, duration: `${DURATION_S}s` }),
  ramp: (vus) => stages(1, [vus, 0.5], [vus, 0.25], [1, 0.25]),
  spike: (vus) => {
    const few = Math.max(1, Math.round(vus / 10));
    return stages(few, [few, 0.3], [vus, 0.05], [vus, 0.3], [few, 0.05], [few, 0.3]);
  },
};

function stages(startVUs, ...steps) {
  const stage = ([target, share]) => ({ target, duration: `${Math.max(1, Math.round(share * DURATION_S * 1000))}ms` });
  return { executor: 'ramping-vus', startVUs, stages: steps.map(stage), gracefulRampDown: GRACE };
}

// A visit that has begun is always compared with history, however the scenario ends.
const GRACE = `${VISIT_S + 2 * SETTLE_S + 60 + (POLL_MS + WAIT_MS) / 1000}s`;

/** The functions that scripts export, by transport; the order of the summary. */
export const EXEC = { 'short-polling': 'shortPolling', 'long-polling': 'longPolling', websocket: 'websocket' };

/** The options of a script on these transports, which share the people. */
export function plan(transports) {
  const shape = shapes[SCENARIO];
  if (!shape) throw new Error(`SCENARIO=${SCENARIO} is none of ${Object.keys(shapes).join(', ')}`);
  const share = Math.ceil(VUS / transports.length);
  const scenarios = {};
  const thresholds = {
    // An interrupted visit was not compared with history.
    unsettled: ['count==0'],
    http_req_failed: ['rate<0.01'],
  };
  for (const transport of transports) {
    scenarios[transport] = { ...shape(share), exec: EXEC[transport], gracefulStop: GRACE };
    const of = (metric) => `${metric}{transport:${transport}}`;
    const p95 = P95_MS + (transport === 'short-polling' ? POLL_MS : 0);
    thresholds[of('delivery_latency_ms')] = [`p(95)<${p95}`];
    for (const metric of ['lost', 'repeated', 'reordered']) thresholds[of(metric)] = ['count==0'];
    // A run without messages has tested nothing.
    for (const metric of ['messages_sent', 'messages_received']) thresholds[of(metric)] = ['count>0'];
    // A threshold per transport makes k6 report the metric per transport.
    thresholds[of('bytes_per_message')] = ['min>=0'];
    if (transport !== 'websocket') thresholds[of('empty_poll_ratio')] = ['rate<=1'];
  }
  return {
    scenarios,
    thresholds,
    setupTimeout: '10m',
    teardownTimeout: '10m',
    summaryTrendStats: ['min', 'avg', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  };
}

/** How many people a script on so many transports needs. */
export const people = (options) =>
  Object.values(options.scenarios)
    .map((it) => Math.max(it.vus || 1, ...(it.stages || []).map((stage) => stage.target)))
    .reduce((sum, vus) => sum + vus, 0);
