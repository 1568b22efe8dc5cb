// The kinds of panels, in one place, so that all dashboards look and behave alike.
// Types and builders are Grafana's own: what its schema does not know does not compile.
import * as common from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

const DATASOURCE: common.DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

/** The series of a metric that the dashboard's variables choose; `more` are further matchers. */
export function of(metric: string, more = ''): string {
  const rest = more === '' ? '' : `,${more}`;
  return `tidemill_${metric}{job=~"$job",instance=~"$instance"${rest}}`;
}

/** What a counter grows by a second. */
export function rate(metric: string, more = ''): string {
  return `rate(${of(metric, more)}[$__rate_interval])`;
}

/** A quantile of a histogram, over all its series but for the labels named. */
export function quantile(q: number, metric: string, by = '', more = ''): string {
  const labels = by === '' ? 'le' : `le,${by}`;
  return `histogram_quantile(${q}, sum by (${labels}) (${rate(`${metric}_bucket`, more)}))`;
}

/** A query and how its series are called. */
export interface Query {
  expr: string;
  legend: string;
}

/** Where values turn from good to worth a look, and to bad. */
export interface Bounds {
  warning: number;
  critical: number;
  /** Whether low values are the bad ones. */
  lowIsBad?: boolean;
}

export interface Panel {
  title: string;
  /** What it shows and what to conclude from it. */
  description: string;
  unit: string;
  queries: Query[];
  bounds?: Bounds;
  /** Columns of 24; a third of the width unless told. */
  width?: number;
  /** One large number instead of a chart. */
  single?: boolean;
  stacked?: boolean;
  max?: number;
}

function thresholds(bounds: Bounds | undefined): dashboard.ThresholdsConfigBuilder {
  const steps: dashboard.Threshold[] = !bounds
    ? [{ value: null, color: 'green' }]
    : bounds.lowIsBad
      ? [
          { value: null, color: 'red' },
          { value: bounds.critical, color: 'orange' },
          { value: bounds.warning, color: 'green' },
        ]
      : [
          { value: null, color: 'green' },
          { value: bounds.warning, color: 'orange' },
          { value: bounds.critical, color: 'red' },
        ];
  return new dashboard.ThresholdsConfigBuilder()
    .mode(dashboard.ThresholdsMode.Absolute)
    .steps(steps);
}

function target(query: Query, at: number): prometheus.DataqueryBuilder {
  return new prometheus.DataqueryBuilder()
    .datasource(DATASOURCE)
    .refId(String.fromCharCode('A'.charCodeAt(0) + at))
    .expr(query.expr)
    .legendFormat(query.legend)
    .range();
}

function single(panel: Panel): stat.PanelBuilder {
  return new stat.PanelBuilder()
    .height(4)
    .span(panel.width ?? 4)
    .colorMode(common.BigValueColorMode.Value)
    .graphMode(common.BigValueGraphMode.Area)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']));
}

function chart(panel: Panel): timeseries.PanelBuilder {
  const stacking = panel.stacked ? common.StackingMode.Normal : common.StackingMode.None;
  const area = panel.bounds ? common.GraphThresholdsStyleMode.Dashed : common.GraphThresholdsStyleMode.Off;
  const builder = new timeseries.PanelBuilder()
    .height(8)
    .span(panel.width ?? 8)
    .min(0)
    .lineWidth(1)
    .fillOpacity(panel.stacked ? 25 : 8)
    .showPoints(common.VisibilityMode.Never)
    .stacking(new common.StackingConfigBuilder().mode(stacking).group('A'))
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(area))
    .tooltip(
      new common.VizTooltipOptionsBuilder()
        .mode(common.TooltipDisplayMode.Multi)
        .sort(common.SortOrder.Descending),
    )
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    );
  return panel.max === undefined ? builder : builder.max(panel.max);
}

function build(panel: Panel): stat.PanelBuilder | timeseries.PanelBuilder {
  return (panel.single ? single(panel) : chart(panel))
    .title(panel.title)
    .description(panel.description)
    .unit(panel.unit)
    .datasource(DATASOURCE)
    .thresholds(thresholds(panel.bounds))
    .targets(panel.queries.map(target));
}

/** A part of a dashboard under a heading. */
export interface Row {
  title: string;
  panels: Panel[];
}

export interface Page {
  uid: string;
  title: string;
  description: string;
  rows: Row[];
}

function variable(name: string, label: string, query: string): dashboard.QueryVariableBuilder {
  return new dashboard.QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query(query)
    .multi(true)
    .includeAll(true)
    .allValue('.*')
    .current({ selected: true, text: 'All', value: '$__all' })
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc);
}

/** A dashboard that is templated by data source, job and instance, and linked to the others. */
export function page(page: Page): dashboard.Dashboard {
  const builder = new dashboard.DashboardBuilder(page.title)
    .uid(page.uid)
    .description(page.description)
    .tags(['tidemill'])
    .timezone('browser')
    .editable()
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .time({ from: 'now-30m', to: 'now' })
    .refresh('10s')
    .withVariable(
      new dashboard.DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'),
    )
    .withVariable(variable('job', 'Job', 'label_values(tidemill_info, job)'))
    .withVariable(variable('instance', 'Instance', 'label_values(tidemill_info{job=~"$job"}, instance)'))
    .link(
      new dashboard.DashboardLinkBuilder('Tidemill')
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags(['tidemill'])
        .asDropdown(true)
        .includeVars(true)
        .keepTime(true),
    );
  for (const row of page.rows) {
    builder.withRow(new dashboard.RowBuilder(row.title));
    for (const panel of row.panels) {
      builder.withPanel(build(panel));
    }
  }
  return builder.build();
}
