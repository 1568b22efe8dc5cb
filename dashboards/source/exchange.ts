// What the market does: orders, trades, books.
import { Page, of, rate } from './panels';

export const exchange: Page = {
  uid: 'tidemill-exchange',
  title: 'Tidemill: exchange',
  description: 'Orders by action and outcome, trades, and the largest books.',
  rows: [
    {
      title: 'Orders and trades',
      panels: [
        {
          title: 'Orders a second',
          description: 'Orders carried out or refused.',
          unit: 'short',
          single: true,
          width: 6,
          queries: [{ expr: `sum(${rate('exchange_orders_total')})`, legend: 'orders' }],
        },
        {
          title: 'Trades a second',
          description: 'Trades made.',
          unit: 'short',
          single: true,
          width: 6,
          queries: [{ expr: `sum(${rate('exchange_trades_total')})`, legend: 'trades' }],
        },
        {
          title: 'Shares a second',
          description: 'Shares that changed hands.',
          unit: 'short',
          single: true,
          width: 6,
          queries: [{ expr: `sum(${rate('exchange_traded_shares_total')})`, legend: 'shares' }],
        },
        {
          title: 'Resting orders',
          description: 'Orders open in all books.',
          unit: 'short',
          single: true,
          width: 6,
          queries: [{ expr: `sum(${of('exchange_resting_orders')})`, legend: 'orders' }],
        },
        {
          title: 'Orders, by action',
          description: 'New orders, cancels and replacements a second.',
          unit: 'cps',
          stacked: true,
          queries: [{ expr: `sum by (action) (${rate('exchange_orders_total')})`, legend: '{{action}}' }],
        },
        {
          title: 'Orders, by outcome',
          description: 'What became of them: a status, or the reason of a rejection.',
          unit: 'cps',
          stacked: true,
          queries: [{ expr: `sum by (outcome) (${rate('exchange_orders_total')})`, legend: '{{outcome}}' }],
        },
        {
          title: 'Refused',
          description: 'Share of orders that were neither accepted, nor filled, nor cancelled as asked.',
          unit: 'percentunit',
          max: 1,
          bounds: { warning: 0.2, critical: 0.5 },
          queries: [
            {
              expr: `1 - sum(${rate('exchange_orders_total', 'outcome=~"ACCEPTED|PARTIALLY_FILLED|FILLED|CANCELLED|REPLACED"')}) / sum(${rate('exchange_orders_total')})`,
              legend: 'refused',
            },
          ],
        },
      ],
    },
    {
      title: 'Books',
      panels: [
        {
          title: 'Resting orders, largest books',
          description: 'The ten largest books of each instance.',
          unit: 'short',
          queries: [{ expr: `topk(10, ${of('exchange_book_orders')})`, legend: '{{asset}}' }],
        },
        {
          title: 'Depth, largest books',
          description: 'Open shares at the ten best prices of a side.',
          unit: 'short',
          queries: [{ expr: `topk(20, ${of('exchange_book_depth_shares')})`, legend: '{{asset}} {{side}}' }],
        },
        {
          title: 'Spread, largest books',
          description: 'Best price of the sellers less that of the buyers, where both wait.',
          unit: 'short',
          queries: [
            {
              expr: `(${of('exchange_book_best_price', 'side="sell"')} > 0) - ignoring (side) (${of('exchange_book_best_price', 'side="buy"')} > 0)`,
              legend: '{{asset}}',
            },
          ],
        },
      ],
    },
  ],
};
