// Is it well? Throughput, lag, latency, errors: what somebody on call looks at first.
import { Page, of, quantile, rate } from './panels';

export const overview: Page = {
  uid: 'tidemill-overview',
  title: 'Tidemill: overview',
  description: 'Whether the application is well: readiness, throughput, lag, latency, errors.',
  rows: [
    {
      title: 'Now',
      panels: [
        {
          title: 'Instances ready',
          description: 'Instances whose assigned tasks all run, as a share of those that are scraped.',
          unit: 'percentunit',
          single: true,
          bounds: { warning: 1, critical: 0.5, lowIsBad: true },
          queries: [{ expr: `avg(${of('ready')})`, legend: 'ready' }],
        },
        {
          title: 'Records a second',
          description: 'Records that went through a topology, all instances together.',
          unit: 'short',
          single: true,
          queries: [{ expr: `sum(${rate('thread_records_processed_total')})`, legend: 'records' }],
        },
        {
          title: 'Largest lag',
          description: 'Age of the oldest record that waits in any partition.',
          unit: 's',
          single: true,
          bounds: { warning: 10, critical: 60 },
          queries: [{ expr: `max(${of('partition_lag_seconds')})`, legend: 'lag' }],
        },
        {
          title: 'Latency, 99 of 100',
          description: 'Time from a record’s timestamp until its results are committed; sampled.',
          unit: 's',
          single: true,
          bounds: { warning: 2, critical: 30 },
          queries: [
            { expr: quantile(0.99, 'record_age_seconds', '', 'stage="committed"'), legend: 'p99' },
          ],
        },
        {
          title: 'Dead letters, last hour',
          description: 'Records that a handler continued past and sent to a dead-letter topic.',
          unit: 'short',
          single: true,
          bounds: { warning: 1, critical: 100 },
          queries: [
            { expr: `sum(increase(${of('dead_letter_records_total')}[1h])) or vector(0)`, legend: 'records' },
          ],
        },
        {
          title: 'Threads that died',
          description: 'Stream threads that ended with an error since their process started.',
          unit: 'short',
          single: true,
          bounds: { warning: 1, critical: 2 },
          queries: [{ expr: `sum(${of('threads_failed_total')})`, legend: 'threads' }],
        },
      ],
    },
    {
      title: 'Throughput and lag',
      panels: [
        {
          title: 'Records read, by topic',
          description: 'Records taken from each input topic a second.',
          unit: 'cps',
          stacked: true,
          queries: [{ expr: `sum by (topic) (${rate('topic_records_consumed_total')})`, legend: '{{topic}}' }],
        },
        {
          title: 'Records written, by topic',
          description: 'Records written to each topic a second, changelogs and aborted ones included.',
          unit: 'cps',
          stacked: true,
          queries: [{ expr: `sum by (topic) (${rate('topic_records_produced_total')})`, legend: '{{topic}}' }],
        },
        {
          title: 'Lag, by topic',
          description: 'Records between the positions and the ends of a topic’s partitions. A line that only rises says that the instances are too slow: add threads or instances, up to the number of partitions.',
          unit: 'short',
          bounds: { warning: 100000, critical: 1000000 },
          queries: [{ expr: `sum by (topic) (${of('partition_lag_records')})`, legend: '{{topic}}' }],
        },
        {
          title: 'Latency to commit',
          description: 'Time from a record’s timestamp until its results are committed and visible to read-committed readers; the first and last record of each commit.',
          unit: 's',
          bounds: { warning: 2, critical: 30 },
          queries: [0.5, 0.9, 0.99].map((q) => ({
            expr: quantile(q, 'record_age_seconds', '', 'stage="committed"'),
            legend: `p${q * 100}`,
          })),
        },
        {
          title: 'Bytes read and written',
          description: 'Keys and values, uncompressed.',
          unit: 'Bps',
          queries: [
            { expr: `sum(${rate('topic_bytes_consumed_total')})`, legend: 'read' },
            { expr: `sum(${rate('topic_bytes_produced_total')})`, legend: 'written' },
          ],
        },
        {
          title: 'Where threads spend their time',
          description: 'Share of each thread’s time in processing, commits and punctuators. A thread near 1 is the bottleneck.',
          unit: 'percentunit',
          max: 1,
          bounds: { warning: 0.8, critical: 0.95 },
          queries: [
            { expr: rate('process_batch_seconds_sum'), legend: '{{thread}} process' },
            { expr: rate('commit_seconds_sum'), legend: '{{thread}} commit' },
            { expr: rate('punctuate_seconds_sum'), legend: '{{thread}} punctuate' },
          ],
        },
      ],
    },
    {
      title: 'Commits and errors',
      panels: [
        {
          title: 'Commits',
          description: 'Commits a second, those that failed, and transactions taken back. Failures that go on mean that nothing gets through.',
          unit: 'cps',
          queries: [
            { expr: `sum(${rate('commits_total')})`, legend: 'committed' },
            { expr: `sum(${rate('commit_failures_total')})`, legend: 'failed' },
            { expr: `sum(${rate('transaction_aborts_total')})`, legend: 'taken back' },
            { expr: `sum(${rate('fences_total')})`, legend: 'fenced' },
          ],
        },
        {
          title: 'Time of a commit',
          description: 'All steps of a commit. Above the commit interval it slows everything down: look at its steps.',
          unit: 's',
          bounds: { warning: 0.5, critical: 5 },
          queries: [0.5, 0.99].map((q) => ({ expr: quantile(q, 'commit_seconds'), legend: `p${q * 100}` })),
        },
        {
          title: 'Steps of a commit',
          description: 'Time a second that each step of the commits takes.',
          unit: 'percentunit',
          stacked: true,
          queries: [{ expr: `sum by (step) (${rate('commit_step_seconds_total')})`, legend: '{{step}}' }],
        },
        {
          title: 'Errors, by class',
          description: 'Errors a second. `retriable` ones pass by themselves; `fenced` ones say that another process took over.',
          unit: 'cps',
          queries: [{ expr: `sum by (class) (${rate('errors_total')})`, legend: '{{class}}' }],
        },
        {
          title: 'Dropped records, by reason',
          description: 'Records that had no effect. Late and expired ones are a matter of grace and retention; the others are mistakes in the data.',
          unit: 'cps',
          queries: [{ expr: `sum by (reason) (${rate('task_dropped_records_total')})`, legend: '{{reason}}' }],
        },
        {
          title: 'Rebalances',
          description: 'Changes of the instances’ assignments within 5 minutes.',
          unit: 'short',
          bounds: { warning: 4, critical: 10 },
          queries: [{ expr: `sum(increase(${of('rebalances_total')}[5m]))`, legend: 'rebalances' }],
        },
      ],
    },
    {
      title: 'Process and Kafka clients',
      panels: [
        {
          title: 'Processor',
          description: 'Cores that a process uses.',
          unit: 'short',
          queries: [
            { expr: 'rate(process_cpu_seconds_total{job=~"$job",instance=~"$instance"}[$__rate_interval])', legend: '{{instance}}' },
          ],
        },
        {
          title: 'Memory',
          description: 'Resident memory of a process, and what its configuration adds up to.',
          unit: 'bytes',
          queries: [
            { expr: `sum by (instance) (${of('memory_bound_bytes')})`, legend: '{{instance}} bound' },
            { expr: 'process_resident_memory_bytes{job=~"$job",instance=~"$instance"}', legend: '{{instance}}' },
          ],
        },
        {
          title: 'Round trip to the brokers',
          description: 'What 99 of 100 responses of the slowest broker take at most.',
          unit: 's',
          bounds: { warning: 0.5, critical: 5 },
          queries: [
            { expr: `max by (instance, client) (${of('client_round_trip_p99_seconds')})`, legend: '{{instance}} {{client}}' },
          ],
        },
        {
          title: 'Client errors',
          description: 'Failed requests, requests without a response in time, and requests sent again.',
          unit: 'cps',
          queries: [
            { expr: `sum(${rate('client_errors_total')})`, legend: 'errors' },
            { expr: `sum(${rate('client_timeouts_total')})`, legend: 'timeouts' },
            { expr: `sum(${rate('client_retries_total')})`, legend: 'retries' },
          ],
        },
        {
          title: 'Records in the clients',
          description: 'Fetched and not yet handed out, or produced and not yet delivered.',
          unit: 'short',
          queries: [
            { expr: `sum by (instance, client) (${of('client_queued_records')})`, legend: '{{instance}} {{client}}' },
          ],
        },
        {
          title: 'Produced batches',
          description: 'Average records of a batch. Small batches cost processor time here and at the brokers.',
          unit: 'short',
          queries: [
            { expr: of('client_batch_average_records', 'client="producer"'), legend: '{{thread}}' },
          ],
        },
      ],
    },
  ],
};
