// Virtual users on short polling, with an interval of POLL_MS.

import { plan } from './lib/plan.js';
import { summary } from './lib/summary.js';
import { visit } from './lib/visit.js';

export { setup, teardown } from './lib/people.js';

export const options = plan(['short-polling']);
export const handleSummary = summary('short-polling');

export const shortPolling = (people) => visit('short-polling', people);
