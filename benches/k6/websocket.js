// Virtual users on a WebSocket, on which they also send.

import { plan } from './lib/plan.js';
import { summary } from './lib/summary.js';
import { visit } from './lib/visit.js';

export { setup, teardown } from './lib/people.js';

export const options = plan(['websocket']);
export const handleSummary = summary('websocket');

export const websocket = (people) => visit('websocket', people);
