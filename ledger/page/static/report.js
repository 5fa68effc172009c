// The report of an account and its risk limits, as the commands `ledger report` and `ledger limits` have them.

import { badge, broker, duration, figure, h, unknown } from "./dom.js";
import { table } from "./table.js";
import * as time from "./time.js";

/** A ratio is shown with three digits, and exactly in its title; money is always exact. */
const ratio = (value, why) => value == null ? unknown(why ?? "not defined here") : h("span", { title: value }, String(Math.round(Number(value) * 1000) / 1000));
const money = (value, currency) => h("span", { class: value?.startsWith("-") ? "loss" : null }, figure(value, currency));
const pair = (name, ...value) => [h("dt", null, name), h("dd", null, value)];
const MONEY = ["start", "flows", "profit", "commission", "swap", "fee", "net", "other", "adjusted", "end"];

export function reportPanel(answer, { rule, currency }) {
  const found = answer.accounts?.[0] ?? answer;
  const { money: sums, trades, ratios, drawdown, buckets } = found;
  return h("div", { class: "report" },
    !found.reconciles && h("div", { class: "banner bad" }, "The money does not add up: this is a fault. Run ledger verify."),
    found.incomplete > 0 && h("div", { class: "banner warn" }, `${found.incomplete} deals or trades are incomplete: figures that rest on them are marked.`),
    h("div", { class: "columns" },
      h("dl", null, MONEY.map((name) => pair(name, money(sums[name], name === "end" ? currency : null)))),
      h("dl", null, pair("trades", String(trades.trades)), pair("wins, losses", `${trades.wins}, ${trades.losses}`), pair("win rate", ratio(trades.win_rate)), pair("profit factor", ratio(trades.profit_factor)),
        pair("expectancy", ratio(trades.expectancy)), pair("average win", ratio(trades.average_win)), pair("average loss", ratio(trades.average_loss)),
        pair("held", trades.held_sec.average == null ? "-" : `${duration(Number(trades.held_sec.average))} on average`)),
      h("dl", null, pair("drawdown, balance", fall(drawdown.balance, rule)), pair("drawdown, equity", drawdown.equity ? fall(drawdown.equity, rule) : unknown(found.unavailable?.equity)),
        ["sharpe", "sortino", "mar"].map((name) => pair(name, ratio(ratios[name], ratios.why?.[name]))), pair("daily returns", String(ratios.days)))),
    h("h3", null, "as MT5 counts, by closing deal"), found.results ? asMt5(found.results) : unknown(found.unavailable?.results),
    h("h3", null, "by position"),
    table({
      caption: "Report by bucket", rows: buckets, empty: "nothing in this period",
      columns: [{ key: "bucket", label: "bucket", cell: (row) => broker(row.bucket ?? "none") }, ...["net", "profit", "commission", "swap", "flows", "end"].map((name) => ({ key: name, label: name, align: "right", cell: (row) => row.money[name] == null ? "-" : money(row.money[name]) })),
        { key: "trades", label: "trades", align: "right", cell: (row) => String(row.trades.trades) }, { key: "win_rate", label: "win rate", align: "right", cell: (row) => ratio(row.trades.win_rate) },
        { key: "profit_factor", label: "profit factor", align: "right", cell: (row) => ratio(row.trades.profit_factor) }],
    }));
}

function fall(found, rule) {
  const one = found?.absolute;
  return one ? [figure(one.amount), " (", ratio(one.percent), " %), ", time.time(one.peak_at, rule), " to ", time.time(one.bottom_at, rule)] : "-";
}

function asMt5(results) {
  const shown = ["total_net_profit", "gross_profit", "gross_loss", "profit_factor", "expected_payoff", "recovery_factor", "sharpe_ratio", "balance_drawdown_maximal", "total_trades", "short_trades", "long_trades", "profit_trades", "loss_trades"];
  return h("dl", { class: "flow" }, shown.map((name) => h("div", null, pair(name.replaceAll("_", " "), /factor|payoff|ratio/.test(name) ? ratio(results[name]) : figure(String(results[name]))))));
}

export function limitsPanel(answer, { rule }) {
  const { rules, problem, since, operator, reason, digest } = Array.isArray(answer) ? answer[0] : answer;
  if (!rules) return h("p", null, problem ? badge(problem, "bad") : "No limits are set: ledger limits set.");
  const lines = (value, prefix) => Object.entries(value).flatMap(([name, one]) => one !== null && typeof one === "object" && !Array.isArray(one) ? lines(one, `${prefix}${name} `) : [[`${prefix}${name}`, one]]);
  return [problem && badge(problem, "bad"), h("p", { class: "dim" }, "since ", time.time(since, rule), " by ", broker(operator), ": ", broker(reason), " ", h("code", { title: digest }, digest?.slice(0, 8))),
    h("dl", null, lines(rules, "").map(([name, value]) => pair(broker(name.replaceAll("_", " ")), broker(Array.isArray(value) ? value.join(", ") : value))))];
}
