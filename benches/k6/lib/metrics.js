// The metrics of a run. Each value is tagged with its transport.

import { Counter, Rate, Trend } from 'k6/metrics';

/** From the moment a message was first said to its arrival, of messages said since the session opened. */
export const latency = new Trend('delivery_latency_ms');
/** Bytes on the wire for each message received: polls with their headers, or frames, both ways. */
export const bytesPerMessage = new Trend('bytes_per_message');
/** Polls that brought nothing. */
export const emptyPolls = new Rate('empty_poll_ratio');
/** Messages that were acknowledged to who said them. */
export const sent = new Counter('messages_sent');
/** Messages that came as events. */
export const received = new Counter('messages_received');
/** Sends, polls and calls that were repeated after a retryable error or without a response. */
export const retried = new Counter('retried');
/** What history has, or was acknowledged, and did not come. */
export const lost = new Counter('lost');
/** What came twice, or is twice in history. */
export const repeated = new Counter('repeated');
/** What came behind something later. */
export const reordered = new Counter('reordered');
/** Visits that have begun less those that were held against history. */
export const unsettled = new Counter('unsettled');
