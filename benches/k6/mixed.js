// A third of the virtual users on each transport, in the same channels under the same load.

import { plan } from './lib/plan.js';
import { summary } from './lib/summary.js';
import { visit } from './lib/visit.js';

export { setup, teardown } from './lib/people.js';

export const options = plan(['short-polling', 'long-polling', 'websocket']);
export const handleSummary = summary('mixed');

export const shortPolling = (people) => visit('short-polling', people);
export const longPolling = (people) => visit('long-polling', people);
export const websocket = (people) => visit('websocket', people);
