// Tables of rows that the server sorted and paged; on a narrow screen each row is a block.
//
//   table({caption, columns, rows, sort, onSort, rowKey, rowClass, empty})
//       columns: [{key, label, align: "right", sort: "age" (its name for the server), cell: (row) => child or children, kind}]
//                  kind: "wide" (text that wraps), "name" (text that does not)
//                  order: "descending" if that is how the server sorts by it. A cell that opens its row is made by rowLink
//       sort: the present one; onSort(name)
//   rowLink(key, url, ...children)   the link that j, k and Enter use; key stays the same over updates
//   older(url or function, text)     the link to the next rows of a keyset
//   pages({page, pages, href})       "page 1 of 3" with links; href(page)

import { h } from "./dom.js";

export function table({ caption, columns, rows, sort = "", onSort, rowKey, rowClass, empty = "nothing" }) {
  const head = (one) => {
    const isBy = one.sort && one.sort === sort, order = one.order ?? "ascending";
    const props = { role: "columnheader", scope: "col", class: one.align, "aria-sort": isBy ? order : null };
    if (!one.sort || !onSort) return h("th", props, one.label || h("span", { class: "sr" }, one.name ?? one.key));
    return h("th", props, h("button",
      { type: "button", class: "plain", data: { key: `sort-${one.key}` }, on: { click: () => onSort(one.sort) } },
      one.label, isBy && h("span", { "aria-hidden": "true" }, order === "descending" ? " ↓" : " ↑")));
  };
  const cell = (one, row) =>
    h("td", { role: "cell", class: [one.align, one.kind].filter(Boolean).join(" ") || null, data: { label: one.label } },
      one.cell(row));
  const place = h("div", { class: "scroll", data: { key: `scroll-${caption}` } }, h("table", { role: "table" },
    h("caption", { class: "sr" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(head))),
    h("tbody", { role: "rowgroup" }, rows.length
      ? rows.map((row) => h("tr", { role: "row", class: rowClass?.(row), data: { id: rowKey?.(row) } },
        columns.map((one) => cell(one, row))))
      : h("tr", { role: "row" }, h("td", { role: "cell", colspan: columns.length, class: "empty" }, empty)))));
  if (!place.querySelector("a, button")) { // what is wider than the screen is scrolled by keys too
    Object.assign(place, { tabIndex: 0, role: "group", ariaLabel: caption });
  }
  return place;
}

export const rowLink = (key, url, ...children) => h("a", { href: url, data: { row: "", key: `row-${key}` } }, children);

export function older(target, text = "older →") {
  if (!target) return null;
  return typeof target === "function"
    ? h("button", { type: "button", data: { key: "older" }, on: { click: target } }, text)
    : h("a", { href: target, data: { key: "older" } }, text);
}

export const pages = ({ page, pages: count, href }) => h("nav", { class: "pages", "aria-label": "Pages" },
  page > 1 && h("a", { href: href(page - 1), rel: "prev", data: { key: "previous" } }, "← previous"),
  h("span", null, `page ${page} of ${Math.max(1, count)}`),
  page < count && h("a", { href: href(page + 1), rel: "next", data: { key: "next" } }, "next →"));
