// Which task is behind, which restores and how long still.
import { Page, of, quantile, rate } from './panels';

export const tasks: Page = {
  uid: 'tidemill-tasks',
  title: 'Tidemill: tasks and restore',
  description: 'Each task: its state, what it processes, its lag, and the restore of its stores.',
  rows: [
    {
      title: 'Tasks',
      panels: [
        {
          title: 'Tasks, by state',
          description: 'All of them should be `running`. Tasks that stay in `restoring` wait for their changelogs.',
          unit: 'short',
          stacked: true,
          queries: [{ expr: `sum by (state) (${of('task_state')})`, legend: '{{state}}' }],
        },
        {
          title: 'Tasks, by thread',
          description: 'They should be spread evenly.',
          unit: 'short',
          queries: [{ expr: of('thread_tasks'), legend: '{{thread}}' }],
        },
        {
          title: 'Assigned and given up',
          description: 'Tasks that came and went a second. Steady traffic here means that the group does not settle.',
          unit: 'cps',
          queries: [
            { expr: `sum(${rate('thread_tasks_created_total')})`, legend: 'assigned' },
            { expr: `sum(${rate('thread_tasks_closed_total')})`, legend: 'given up' },
          ],
        },
        {
          title: 'Records, by task',
          description: 'The ten busiest tasks. One far above the others has a hot key or partition.',
          unit: 'cps',
          queries: [{ expr: `topk(10, ${rate('task_records_processed_total')})`, legend: '{{task}}' }],
        },
        {
          title: 'Time in operators, by task',
          description: 'Share of a thread’s time that a task takes; the ten largest.',
          unit: 'percentunit',
          max: 1,
          queries: [{ expr: `topk(10, ${rate('task_process_seconds_total')})`, legend: '{{task}}' }],
        },
        {
          title: 'Records, by node',
          description: 'Records that each node of the topology was given a second. Where the number falls, a filter is at work; where it rises, a flat map or a join.',
          unit: 'cps',
          queries: [{ expr: `sum by (node) (${rate('node_records_total')})`, legend: '{{node}}' }],
        },
      ],
    },
    {
      title: 'Lag',
      panels: [
        {
          title: 'Lag in records, by partition',
          description: 'The ten partitions with the most records waiting.',
          unit: 'short',
          bounds: { warning: 100000, critical: 1000000 },
          queries: [{ expr: `topk(10, ${of('partition_lag_records')})`, legend: '{{topic}}-{{partition}}' }],
        },
        {
          title: 'Lag in seconds, by partition',
          description: 'Age of the oldest record that waits; the ten oldest.',
          unit: 's',
          bounds: { warning: 10, critical: 60 },
          queries: [{ expr: `topk(10, ${of('partition_lag_seconds')})`, legend: '{{topic}}-{{partition}}' }],
        },
        {
          title: 'Records that wait in tasks',
          description: 'Fetched, and not processed yet. A task with two inputs waits for the slower one.',
          unit: 'short',
          queries: [{ expr: `topk(10, ${of('partition_buffered_records')})`, legend: '{{topic}}-{{partition}}' }],
        },
        {
          title: 'Stream time behind the clock',
          description: 'How far the highest timestamp that a task has seen lies behind; the ten furthest. It stands still when nothing comes.',
          unit: 's',
          queries: [{ expr: `topk(10, time() - ${of('task_stream_time_seconds')})`, legend: '{{task}}' }],
        },
        {
          title: 'Not committed yet',
          description: 'Records between the position and the committed offset; the ten largest.',
          unit: 'short',
          queries: [
            {
              expr: `topk(10, ${of('partition_position_offset')} - ${of('partition_committed_offset')})`,
              legend: '{{topic}}-{{partition}}',
            },
          ],
        },
        {
          title: 'Age when processed, by topic',
          description: 'Time from a record’s timestamp until it was processed, 99 of 100; sampled.',
          unit: 's',
          queries: [
            { expr: quantile(0.99, 'record_age_seconds', 'topic', 'stage="processed"'), legend: '{{topic}}' },
          ],
        },
      ],
    },
    {
      title: 'Restore',
      panels: [
        {
          title: 'Left to restore, by store',
          description: 'Changelog records between a store and the end of its changelog. A line that does not fall is stuck: see the runbook.',
          unit: 'short',
          queries: [
            { expr: `topk(10, ${of('restore_remaining_records')})`, legend: '{{task}} {{store}}' },
          ],
        },
        {
          title: 'Lag of copies, by task',
          description: 'Changelog records that the copies of other instances’ tasks have yet to read; the ten furthest behind. What a takeover would have to restore.',
          unit: 'short',
          bounds: { warning: 10000, critical: 1000000 },
          queries: [
            { expr: `topk(10, ${of('standby_lag_records')})`, legend: '{{instance}} {{task}}' },
          ],
        },
        {
          title: 'Restored a second',
          description: 'Records read from changelogs, those that keep copies up included.',
          unit: 'cps',
          queries: [{ expr: `sum by (store) (${rate('restored_records_total')})`, legend: '{{store}}' }],
        },
        {
          title: 'Restored bytes a second',
          description: 'Keys and values read from changelogs.',
          unit: 'Bps',
          queries: [{ expr: `sum by (store) (${rate('restored_bytes_total')})`, legend: '{{store}}' }],
        },
        {
          title: 'Time of a restore',
          description: 'From a task’s assignment until it runs, by instance: the average of the last hour.',
          unit: 's',
          bounds: { warning: 60, critical: 600 },
          queries: [
            {
              expr: `sum by (instance) (rate(${of('restore_seconds_sum')}[1h])) / sum by (instance) (rate(${of('restore_seconds_count')}[1h]))`,
              legend: '{{instance}}',
            },
          ],
        },
        {
          title: 'Stores rebuilt from the start',
          description: 'Stores that did not fit their changelog, by reason, within an hour.',
          unit: 'short',
          bounds: { warning: 1, critical: 10 },
          queries: [
            { expr: `sum by (store, reason) (increase(${of('store_rebuilds_total')}[1h]))`, legend: '{{store}} {{reason}}' },
          ],
        },
        {
          title: 'Threads, by state',
          description: 'A thread joins, restores, or runs.',
          unit: 'short',
          stacked: true,
          queries: [{ expr: `sum by (state) (${of('thread_state')})`, legend: '{{state}}' }],
        },
      ],
    },
  ],
};
