//! The quick loop of the fold: the three things that nearly every posting does, over packed columns.
//!
//! It opens a position, adds to one, and closes within what is open, exactly as `Portfolio.fold` in
//! `ledger/portfolio.py` does. Everything else it gives back, with nothing changed: rows that are stored whole, other
//! symbols or sides, closes beyond what is open, reversals, positions that are checked out to Python, and any number that
//! does not fit. So it decides nothing that the rules of the fold do not state for these three cases.
//!
//! The functions at the end are what `ledger/segments/native.py` calls, through ctypes. A caller passes pointers to
//! as many values as it states, and uses a `Fold` from one thread at a time.

use std::slice;

/// Raised with every change of what the functions expect or return; `native.py` expects the same.
const ABI: u32 = 1;

const ENTRY_IN: i64 = 0;
const ENTRY_IN_OUT: i64 = 2;
/// So many rows are unpacked at once.
const CHUNK: usize = 512;
const NOWHERE: u32 = u32::MAX;

/// How a column is stored: see `ledger/segments/packed.py`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Column {
    data: *const u8,
    width: u32,
    nulls: u32,
    base: i64,
    step: i64,
}

/// The columns that the loop reads, in this order.
const TIME: usize = 0;
const SIDE: usize = 1;
const ENTRY: usize = 2;
const ID: usize = 3;
const SYMBOL: usize = 4;
const VOLUME: usize = 5;
const PRICE: usize = 6;
const COMMISSION: usize = 7;
const FEE: usize = 8;
const SWAP: usize = 9;
const PROFIT: usize = 10;
const UNPACKED: usize = 11;
const MAGIC: usize = 11;
const COLUMNS: usize = 12;

/// A position, as far as the loop changes it: words of eight bytes, which `native.py` reads and writes by their order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Position {
    id: i64,
    symbol: i64,
    side: i64,
    volume: i64,
    cost_volume: i64,
    volume_in: i64,
    volume_out: i64,
    commission: i64,
    fee: i64,
    swap: i64,
    profit: i64,
    opened_msc: i64,
    closed_msc: i64,
    magic: i64,
    has_magic: i64,
    /// Python has more of it than is here: the loop may not let it go flat.
    has_more: i64,
    /// It is checked out to Python: only its id and its place among the others are here.
    is_out: i64,
    /// Ascends in the order in which positions were opened.
    order: i64,
    cost: [u64; 2],
    cost_in: [u64; 2],
    cost_out: [u64; 2],
}

fn wide(words: [u64; 2]) -> i128 {
    (words[0] as u128 | (words[1] as u128) << 64) as i128
}

fn words(value: i128) -> [u64; 2] {
    [value as u64, ((value as u128) >> 64) as u64]
}

/// What a call came to.
#[repr(C)]
pub struct Run {
    /// The row where it ended: the end, or the one that is given back.
    at: i64,
    folded: i64,
    filled_msc: i64,
    closed: i64,
    commission: [u64; 2],
    fee: [u64; 2],
    swap: [u64; 2],
    profit: [u64; 2],
}

const DONE: i32 = 0;
const GIVEN_BACK: i32 = 1;
const CLOSED_FULL: i32 = 2;
const DAMAGED: i32 = 3;

/// The open positions of one account, and where rows are unpacked.
pub struct Fold {
    book: Book,
    unpacked: Box<[[i64; CHUNK]; UNPACKED]>,
}

struct Book {
    nets: bool,
    positions: Vec<Position>,
    free: Vec<u32>,
    /// Hash table, open addressing: index into `positions`, or NOWHERE. Its size is a power of two.
    table: Vec<u32>,
    count: usize,
    next_order: i64,
    /// By number of the symbol: the id of the one open position, where the account nets.
    ids: Vec<Option<i64>>,
}

fn hash(id: i64) -> usize {
    ((id as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize
}

impl Book {
    fn new(nets: bool) -> Book {
        Book {
            nets,
            positions: Vec::new(),
            free: Vec::new(),
            table: vec![NOWHERE; 64],
            count: 0,
            next_order: 0,
            ids: Vec::new(),
        }
    }

    fn find(&self, id: i64) -> Option<usize> {
        let mask = self.table.len() - 1;
        let mut at = hash(id) & mask;
        loop {
            let found = self.table[at];
            if found == NOWHERE {
                return None;
            }
            if self.positions[found as usize].id == id {
                return Some(found as usize);
            }
            at = (at + 1) & mask;
        }
    }

    fn place(&mut self, index: u32) {
        let mask = self.table.len() - 1;
        let mut at = hash(self.positions[index as usize].id) & mask;
        while self.table[at] != NOWHERE {
            at = (at + 1) & mask;
        }
        self.table[at] = index;
    }

    /// Insert a position whose id is not here yet, behind all others.
    fn insert(&mut self, mut position: Position) {
        position.order = self.next_order;
        self.next_order += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.positions[index as usize] = position;
                index
            }
            None => {
                self.positions.push(position);
                (self.positions.len() - 1) as u32
            }
        };
        self.count += 1;
        if self.count * 2 > self.table.len() {
            let old = std::mem::take(&mut self.table);
            self.table = vec![NOWHERE; old.len() * 2];
            old.into_iter().filter(|&one| one != NOWHERE).for_each(|one| self.place(one));
        }
        self.place(index);
    }

    fn remove(&mut self, id: i64) -> bool {
        let mask = self.table.len() - 1;
        let mut at = hash(id) & mask;
        loop {
            let found = self.table[at];
            if found == NOWHERE {
                return false;
            }
            if self.positions[found as usize].id == id {
                self.free.push(found);
                break;
            }
            at = (at + 1) & mask;
        }
        self.count -= 1;
        // Move up what would not be found across the gap.
        let mut gap = at;
        loop {
            at = (at + 1) & mask;
            let found = self.table[at];
            if found == NOWHERE {
                break;
            }
            let home = hash(self.positions[found as usize].id) & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.table[gap] = found;
                gap = at;
            }
        }
        self.table[gap] = NOWHERE;
        true
    }

    fn id_of(&self, symbol: i64) -> Option<i64> {
        usize::try_from(symbol).ok().and_then(|symbol| self.ids.get(symbol).copied().flatten())
    }

    fn set_id(&mut self, symbol: i64, id: Option<i64>) {
        let Ok(symbol) = usize::try_from(symbol) else { return };
        if symbol >= self.ids.len() {
            self.ids.resize(symbol + 1, None);
        }
        self.ids[symbol] = id;
    }
}

/// One fill.
struct Fill {
    time_msc: i64,
    side: i64,
    entry: i64,
    id: i64,
    symbol: i64,
    volume: i64,
    price: i64,
    commission: i64,
    fee: i64,
    swap: i64,
    profit: i64,
}

/// `positions.divided`: rounds half to even. The denominator is positive.
fn divided(numerator: i128, denominator: i128) -> i128 {
    let (quotient, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    let twice = rest * 2;
    quotient + i128::from(twice > denominator || (twice == denominator && quotient % 2 != 0))
}

impl Position {
    fn opened(fill: &Fill, magic: Option<i64>) -> Position {
        let cost = words(i128::from(fill.volume) * i128::from(fill.price));
        Position {
            id: fill.id,
            symbol: fill.symbol,
            side: fill.side,
            volume: fill.volume,
            cost_volume: fill.volume,
            volume_in: fill.volume,
            volume_out: 0,
            commission: fill.commission,
            fee: fill.fee,
            swap: fill.swap,
            profit: fill.profit,
            opened_msc: fill.time_msc,
            closed_msc: 0,
            magic: magic.unwrap_or(0),
            has_magic: i64::from(magic.is_some()),
            has_more: 0,
            is_out: 0,
            order: 0,
            cost,
            cost_in: cost,
            cost_out: [0; 2],
        }
    }

    fn counted(mut self, fill: &Fill) -> Option<Position> {
        self.commission = self.commission.checked_add(fill.commission)?;
        self.fee = self.fee.checked_add(fill.fee)?;
        self.swap = self.swap.checked_add(fill.swap)?;
        self.profit = self.profit.checked_add(fill.profit)?;
        Some(self)
    }

    /// `OpenPosition.add`; None where a number does not fit.
    fn added(&self, fill: &Fill) -> Option<Position> {
        let mut after = self.counted(fill)?;
        let mut cost = wide(self.cost);
        if self.volume != self.cost_volume {
            if self.cost_volume <= 0 {
                return None;
            }
            cost = divided(cost.checked_mul(i128::from(self.volume))?, i128::from(self.cost_volume));
            after.cost_volume = self.volume;
        }
        let more = i128::from(fill.volume) * i128::from(fill.price);
        after.volume = self.volume.checked_add(fill.volume)?;
        after.cost_volume = after.cost_volume.checked_add(fill.volume)?;
        after.cost = words(cost.checked_add(more)?);
        after.volume_in = self.volume_in.checked_add(fill.volume)?;
        after.cost_in = words(wide(self.cost_in).checked_add(more)?);
        Some(after)
    }

    /// `OpenPosition.reduce`; None where a number does not fit.
    fn reduced(&self, fill: &Fill) -> Option<Position> {
        let mut after = self.counted(fill)?;
        after.volume = self.volume.checked_sub(fill.volume)?;
        after.volume_out = self.volume_out.checked_add(fill.volume)?;
        let cost = i128::from(fill.volume) * i128::from(fill.price);
        after.cost_out = words(wide(self.cost_out).checked_add(cost)?);
        Some(after)
    }
}

impl Book {
    /// Apply a fill that is one of the three cases; return whether it is, and what went flat. Else nothing has changed.
    #[inline(always)]
    fn apply(
        &mut self,
        fill: &Fill,
        loose: Option<&[i64]>,
        magic: impl Fn() -> Option<i64>,
    ) -> (bool, Option<Position>) {
        let Some(index) = self.find(fill.id) else {
            if fill.entry != ENTRY_IN
                || loose.is_some_and(|ids| fill.id == 0 || ids.binary_search(&fill.id).is_ok())
                || (self.nets && self.id_of(fill.symbol).is_some())
            {
                return (false, None);
            }
            self.insert(Position::opened(fill, magic()));
            if self.nets {
                self.set_id(fill.symbol, Some(fill.id));
            }
            return (true, None);
        };
        let position = &self.positions[index];
        if position.is_out != 0 || position.symbol != fill.symbol {
            return (false, None);
        }
        if fill.entry == ENTRY_IN {
            if position.side != fill.side {
                return (false, None);
            }
            let Some(after) = position.added(fill) else { return (false, None) };
            self.positions[index] = after;
            return (true, None);
        }
        if fill.entry == ENTRY_IN_OUT || position.side == fill.side || fill.volume > position.volume {
            return (false, None);
        }
        let Some(mut after) = position.reduced(fill) else { return (false, None) };
        if after.volume != 0 {
            self.positions[index] = after;
            return (true, None);
        }
        if after.has_more != 0 || (self.nets && self.id_of(fill.symbol).is_none()) {
            return (false, None);
        }
        self.remove(fill.id);
        if self.nets {
            self.set_id(fill.symbol, None);
        }
        after.closed_msc = fill.time_msc;
        (true, Some(after))
    }
}

impl Column {
    /// The stored integer of a row, without base and step. The caller has checked that the row is there.
    unsafe fn stored(&self, row: usize) -> i64 {
        match self.width {
            1 => i64::from(self.data.cast::<i8>().add(row).read_unaligned()),
            2 => i64::from(i16::from_le_bytes(self.data.add(row * 2).cast::<[u8; 2]>().read_unaligned())),
            4 => i64::from(i32::from_le_bytes(self.data.add(row * 4).cast::<[u8; 4]>().read_unaligned())),
            8 => i64::from_le_bytes(self.data.add(row * 8).cast::<[u8; 8]>().read_unaligned()),
            _ => 0,
        }
    }

    unsafe fn unpack(&self, begin: usize, into: &mut [i64]) {
        macro_rules! all {
            ($kind:ty, $size:expr) => {
                for (at, value) in into.iter_mut().enumerate() {
                    let bytes = self.data.add((begin + at) * $size).cast::<[u8; $size]>().read_unaligned();
                    *value = self.base.wrapping_add(<$kind>::from_le_bytes(bytes) as i64);
                }
            };
        }
        match self.width {
            1 => all!(i8, 1),
            2 => all!(i16, 2),
            4 => all!(i32, 4),
            8 => all!(i64, 8),
            _ => {
                for (at, value) in into.iter_mut().enumerate() {
                    *value = self.base.wrapping_add(self.step.wrapping_mul((begin + at) as i64));
                }
            }
        }
    }

    unsafe fn value_or_none(&self, row: usize) -> Option<i64> {
        let stored = self.stored(row);
        if self.nulls != 0 && (self.width == 0 || stored == -1_i64 << (8 * self.width - 1)) {
            return None;
        }
        Some(self.base.wrapping_add(self.step.wrapping_mul(row as i64)).wrapping_add(stored))
    }
}

#[no_mangle]
pub extern "C" fn ledger_native_abi() -> u32 {
    ABI
}

#[no_mangle]
pub extern "C" fn ledger_native_new(nets: u32) -> *mut Fold {
    Box::into_raw(Box::new(Fold { book: Book::new(nets != 0), unpacked: Box::new([[0; CHUNK]; UNPACKED]) }))
}

/// # Safety
/// The fold is one of `ledger_native_new`, and not used any more.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_free(fold: *mut Fold) {
    drop(Box::from_raw(fold));
}

/// Fold rows `begin` to `end`, up to the first that is none of the three cases, or is listed in `whole`.
///
/// # Safety
/// See the module. `loose_ids` ascend. `columns` are 12, of `end` rows or more; `closed` is NULL or has room for `closed_room` positions.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_fold(
    fold: *mut Fold,
    columns: *const Column,
    begin: u64,
    end: u64,
    whole: *const u32,
    whole_count: u64,
    symbols: *const i64,
    symbols_count: u64,
    loose_ids: *const i64,
    loose_count: u64,
    is_loose: u32,
    closed: *mut Position,
    closed_room: u64,
    run: *mut Run,
) -> i32 {
    let (fold, columns, run) = (&mut *fold, slice::from_raw_parts(columns, COLUMNS), &mut *run);
    let whole = if whole_count == 0 { &[] } else { slice::from_raw_parts(whole, whole_count as usize) };
    let symbols = if symbols_count == 0 { &[] } else { slice::from_raw_parts(symbols, symbols_count as usize) };
    let loose_ids = if loose_count == 0 { &[] } else { slice::from_raw_parts(loose_ids, loose_count as usize) };
    let loose = (is_loose != 0).then_some(loose_ids);
    let (begin, end) = (begin as usize, end as usize);
    let next_whole = whole.get(whole.partition_point(|&at| (at as usize) < begin)).map_or(end, |&at| at as usize);
    let last = next_whole.min(end);
    let (mut folded, mut filled_msc, mut closed_count) = (0_i64, 0_i64, 0_usize);
    let mut money = [0_i128; 4];
    let mut outcome = if next_whole < end { GIVEN_BACK } else { DONE };
    let mut at = begin;
    let Fold { book, unpacked } = fold;
    'rows: while at < last {
        let size = (last - at).min(CHUNK);
        for (column, into) in columns.iter().zip(unpacked.iter_mut()) {
            column.unpack(at, &mut into[..size]);
        }
        for index in 0..size {
            if !closed.is_null() && closed_count == closed_room as usize {
                outcome = CLOSED_FULL;
                at += index;
                break 'rows;
            }
            let code = unpacked[SYMBOL][index];
            let Some(&symbol) = usize::try_from(code).ok().and_then(|code| symbols.get(code)) else {
                outcome = DAMAGED;
                at += index;
                break 'rows;
            };
            let fill = Fill {
                time_msc: unpacked[TIME][index],
                side: unpacked[SIDE][index],
                entry: unpacked[ENTRY][index],
                id: unpacked[ID][index],
                symbol,
                volume: unpacked[VOLUME][index],
                price: unpacked[PRICE][index],
                commission: unpacked[COMMISSION][index],
                fee: unpacked[FEE][index],
                swap: unpacked[SWAP][index],
                profit: unpacked[PROFIT][index],
            };
            let row = at + index;
            let (is_applied, flat) = book.apply(&fill, loose, || columns[MAGIC].value_or_none(row));
            if !is_applied {
                outcome = GIVEN_BACK;
                at = row;
                break 'rows;
            }
            if let (Some(flat), false) = (flat, closed.is_null()) {
                closed.add(closed_count).write(flat);
                closed_count += 1;
            }
            folded += 1;
            filled_msc = fill.time_msc;
            money[0] += i128::from(fill.commission);
            money[1] += i128::from(fill.fee);
            money[2] += i128::from(fill.swap);
            money[3] += i128::from(fill.profit);
        }
        at += size;
    }
    *run = Run {
        at: at as i64,
        folded,
        filled_msc,
        closed: closed_count as i64,
        commission: words(money[0]),
        fee: words(money[1]),
        swap: words(money[2]),
        profit: words(money[3]),
    };
    outcome
}

/// How many positions are open, those that are checked out counted.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_count(fold: *const Fold) -> u64 {
    (*fold).book.count as u64
}

/// Copy the position with an id to `into`; return 0 if there is none, 1 if it is here, 2 if it is checked out.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_get(fold: *const Fold, id: i64, into: *mut Position) -> u32 {
    let book = &(*fold).book;
    let Some(index) = book.find(id) else { return 0 };
    *into = book.positions[index];
    1 + (book.positions[index].is_out != 0) as u32
}

/// Check the position with an id out to Python: only its place among the others stays. A new one comes behind all.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_check_out(fold: *mut Fold, id: i64) {
    let book = &mut (*fold).book;
    match book.find(id) {
        Some(index) => book.positions[index].is_out = 1,
        None => {
            let fill = Fill {
                time_msc: 0,
                side: 0,
                entry: 0,
                id,
                symbol: 0,
                volume: 0,
                price: 0,
                commission: 0,
                fee: 0,
                swap: 0,
                profit: 0,
            };
            book.insert(Position { is_out: 1, ..Position::opened(&fill, None) });
        }
    }
}

/// Check in positions that were checked out.
///
/// # Safety
/// See the module. `from` are `count`.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_check_in(fold: *mut Fold, from: *const Position, count: u64) {
    let book = &mut (*fold).book;
    for at in 0..count as usize {
        let position = from.add(at).read();
        if let Some(index) = book.find(position.id) {
            let order = book.positions[index].order;
            book.positions[index] = Position { order, is_out: 0, ..position };
        }
    }
}

/// Forget the position with an id; return whether there was one.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_remove(fold: *mut Fold, id: i64) -> u32 {
    (*fold).book.remove(id) as u32
}

/// Copy all open positions to `into`, in any order; return how many.
///
/// # Safety
/// See the module. `into` has room for all of them.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_all(fold: *const Fold, into: *mut Position) -> u64 {
    let book = &(*fold).book;
    let mut count = 0;
    for &index in book.table.iter().filter(|&&index| index != NOWHERE) {
        into.add(count).write(book.positions[index as usize]);
        count += 1;
    }
    count as u64
}

/// Return whether a symbol has an open position on an account that nets, and its id.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_id_of(fold: *const Fold, symbol: i64, id: *mut i64) -> u32 {
    match (*fold).book.id_of(symbol) {
        Some(found) => {
            *id = found;
            1
        }
        None => 0,
    }
}

/// State the id of the one open position of a symbol; `is_open` is 0 where it has none.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_set_id(fold: *mut Fold, symbol: i64, id: i64, is_open: u32) {
    (*fold).book.set_id(symbol, (is_open != 0).then_some(id));
}
