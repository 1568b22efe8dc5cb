// What state costs: entries, bytes, the cache, and RocksDB below it.
import { Page, of, quantile, rate } from './panels';

const hits = (block: string): string =>
  `sum(${rate('rocksdb_block_cache_lookups_total', `block="${block}",result="hit"`)}) / sum(${rate('rocksdb_block_cache_lookups_total', `block="${block}"`)})`;

export const stores: Page = {
  uid: 'tidemill-stores',
  title: 'Tidemill: state stores and RocksDB',
  description: 'What the stores hold, how they are read and written, and RocksDB below them.',
  rows: [
    {
      title: 'Stores',
      panels: [
        {
          title: 'Entries, by store',
          description: 'About; RocksDB estimates. A line that only rises wants a retention.',
          unit: 'short',
          queries: [{ expr: `sum by (store) (${of('store_entries')})`, legend: '{{store}}' }],
        },
        {
          title: 'Bytes, by store',
          description: 'On disk, or in memory for stores that live there.',
          unit: 'bytes',
          queries: [{ expr: `sum by (store) (${of('store_bytes')})`, legend: '{{store}}' }],
        },
        {
          title: 'Look-ups that went to RocksDB',
          description: 'Share of look-ups by key that the write set, which is also the cache, could not answer. A larger `state.memory.bytes` lowers it.',
          unit: 'percentunit',
          max: 1,
          bounds: { warning: 0.5, critical: 0.9 },
          queries: [
            {
              expr: `sum by (store) (${rate('store_reads_total', 'from="backend"')}) / sum by (store) (${rate('store_reads_total')})`,
              legend: '{{store}}',
            },
          ],
        },
        {
          title: 'Reads, by store',
          description: 'Look-ups by key and scans a second.',
          unit: 'cps',
          queries: [
            { expr: `sum by (store) (${rate('store_reads_total')})`, legend: '{{store}}' },
            { expr: `sum by (store) (${rate('store_scans_total')})`, legend: '{{store}} scans' },
          ],
        },
        {
          title: 'Write sets',
          description: 'Writes that RocksDB does not have yet.',
          unit: 'bytes',
          queries: [{ expr: of('write_set_bytes'), legend: '{{instance}}' }],
        },
        {
          title: 'Writes refused by RocksDB',
          description: 'Committed writes that RocksDB does not take, as when its disk is full, as a part of what may wait. At 100% the task reads no more until RocksDB takes them.',
          unit: 'percentunit',
          queries: [{ expr: of('task_refused_writes_ratio'), legend: '{{instance}} {{task}}' }],
        },
        {
          title: 'Cached bytes, by store',
          description: 'Entries kept for reads alone.',
          unit: 'bytes',
          stacked: true,
          queries: [{ expr: `sum by (store) (${of('store_cache_bytes')})`, legend: '{{store}}' }],
        },
        {
          title: 'Time to apply',
          description: 'Time in which a task’s committed writes move on to RocksDB.',
          unit: 's',
          bounds: { warning: 0.25, critical: 2.5 },
          queries: [0.5, 0.99].map((q) => ({ expr: quantile(q, 'apply_seconds'), legend: `p${q * 100}` })),
        },
        {
          title: 'Held back by caching stores',
          description: 'Updates that go on with the next commit.',
          unit: 'bytes',
          queries: [{ expr: `sum by (store) (${of('store_pending_bytes')})`, legend: '{{store}}' }],
        },
        {
          title: 'Disk of the state directory',
          description: 'How full the file system is. When it is full, processing goes on and committed writes stay in memory, up to their bound.',
          unit: 'percentunit',
          max: 1,
          bounds: { warning: 0.8, critical: 0.9 },
          queries: [
            { expr: `1 - ${of('state_disk_free_bytes')} / ${of('state_disk_size_bytes')}`, legend: '{{instance}}' },
          ],
        },
      ],
    },
    {
      title: 'RocksDB',
      panels: [
        {
          title: 'Memory and its bound',
          description: 'Block cache and memtables of all stores; a full cache is normal.',
          unit: 'bytes',
          queries: [
            { expr: of('rocksdb_memory_bytes'), legend: '{{instance}}' },
            { expr: of('rocksdb_memtable_bytes'), legend: '{{instance}} memtables' },
            { expr: of('rocksdb_memory_limit_bytes'), legend: '{{instance}} bound' },
          ],
        },
        {
          title: 'Block cache hits',
          description: 'Share of blocks found in the cache. Few index and filter hits mean that the bound is far too small.',
          unit: 'percentunit',
          max: 1,
          bounds: { warning: 0.9, critical: 0.5, lowIsBad: true },
          queries: ['data', 'index', 'filter'].map((block) => ({ expr: hits(block), legend: block })),
        },
        {
          title: 'Read and written',
          description: 'Values read, keys and values written, flushed, and rewritten by compactions.',
          unit: 'Bps',
          queries: [
            { expr: `sum(${rate('rocksdb_read_bytes_total')})`, legend: 'read' },
            { expr: `sum(${rate('rocksdb_written_bytes_total')})`, legend: 'written' },
            { expr: `sum(${rate('rocksdb_flushed_bytes_total')})`, legend: 'flushed' },
            { expr: `sum by (direction) (${rate('rocksdb_compaction_bytes_total')})`, legend: 'compaction {{direction}}' },
          ],
        },
        {
          title: 'Stalls',
          description: 'Share of time that writers waited for flushes and compactions, and stores that take no writes.',
          unit: 'percentunit',
          bounds: { warning: 0.01, critical: 0.1 },
          queries: [
            { expr: rate('rocksdb_stalled_seconds_total'), legend: '{{instance}}' },
            { expr: `sum by (store) (${of('rocksdb_write_stopped')})`, legend: '{{store}} stopped' },
          ],
        },
        {
          title: 'Compactions and flushes',
          description: 'Those that run, and those that are due.',
          unit: 'short',
          queries: [
            { expr: `sum(${of('rocksdb_running_compactions')})`, legend: 'compactions' },
            { expr: `sum(${of('rocksdb_compaction_pending')})`, legend: 'compactions due' },
            { expr: `sum(${of('rocksdb_running_flushes')})`, legend: 'flushes' },
            { expr: `sum(${of('rocksdb_flush_pending')})`, legend: 'flushes due' },
          ],
        },
        {
          title: 'Left to compact',
          description: 'About how much compactions are yet to rewrite.',
          unit: 'bytes',
          bounds: { warning: 4e9, critical: 3.2e10 },
          queries: [{ expr: `sum by (store) (${of('rocksdb_pending_compaction_bytes')})`, legend: '{{store}}' }],
        },
        {
          title: 'Memtables, by store',
          description: 'Memory of memtables, and full ones that wait for their flush.',
          unit: 'bytes',
          queries: [{ expr: `sum by (store) (${of('store_memtable_bytes')})`, legend: '{{store}}' }],
        },
        {
          title: 'Memtable hits',
          description: 'Share of look-ups that a memtable answered.',
          unit: 'percentunit',
          max: 1,
          queries: [
            {
              expr: `sum(${rate('rocksdb_memtable_lookups_total', 'result="hit"')}) / sum(${rate('rocksdb_memtable_lookups_total')})`,
              legend: 'hits',
            },
          ],
        },
        {
          title: 'Background errors',
          description: 'Flushes and compactions that failed. Any is a reason to look at the disk.',
          unit: 'short',
          bounds: { warning: 1, critical: 2 },
          queries: [{ expr: `sum by (store) (${of('rocksdb_background_errors')})`, legend: '{{store}}' }],
        },
      ],
    },
  ],
};
