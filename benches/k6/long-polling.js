// Virtual users on long polling.

import { plan } from './lib/plan.js';
import { summary } from './lib/summary.js';
import { visit } from './lib/visit.js';

export { setup, teardown } from './lib/people.js';

export const options = plan(['long-polling']);
export const handleSummary = summary('long-polling');

export const longPolling = (people) => visit('long-polling', people);
