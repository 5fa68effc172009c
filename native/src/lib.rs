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

/// Raised with every change of what the functions expect or return, and with it the version of the package, 0.ABI.x: of the
/// same version none would be replaced by another. `native.py` expects the same.
const ABI: u32 = 2;

const ENTRY_IN: i64 = 0;
const ENTRY_IN_OUT: i64 = 2;
/// So many rows are unpacked at once.
const CHUNK: usize = 256;
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
    /// Python has more of it than is here, and has to hear of it when it goes flat.
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
    /// The rows that are stored whole, by their number among those: the first from the beginning on; the first from `at` on; and
    /// the one behind those that come from `at` on without another row between them.
    whole_first: i64,
    whole_at: i64,
    whole_end: i64,
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

/// The open positions of one account, and what is folded into them.
pub struct Fold {
    book: Book,
    pack: Pack,
    /// Some rows of it, from a multiple of CHUNK on.
    unpacked: Box<[[i64; CHUNK]; UNPACKED]>,
    unpacked_from: usize,
}

/// Packed postings, where the caller has them.
struct Pack {
    columns: [Column; COLUMNS],
    count: usize,
    whole: &'static [u32],
    /// By number among the rows that are stored whole: 0 for one that concerns no position.
    stops: &'static [u8],
    symbols: &'static [i64],
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

    /// `OpenPosition.add`; None, and nothing has changed, where a number does not fit.
    fn add(&mut self, fill: &Fill) -> Option<()> {
        let (mut cost, mut cost_volume) = (wide(self.cost), self.cost_volume);
        if self.volume != cost_volume {
            if cost_volume <= 0 {
                return None;
            }
            cost = divided(cost.checked_mul(i128::from(self.volume))?, i128::from(cost_volume));
            cost_volume = self.volume;
        }
        let more = i128::from(fill.volume) * i128::from(fill.price);
        let volume = self.volume.checked_add(fill.volume)?;
        let cost_volume = cost_volume.checked_add(fill.volume)?;
        let volume_in = self.volume_in.checked_add(fill.volume)?;
        let (cost, cost_in) = (cost.checked_add(more)?, wide(self.cost_in).checked_add(more)?);
        self.count(fill)?;
        (self.volume, self.cost_volume, self.volume_in) = (volume, cost_volume, volume_in);
        (self.cost, self.cost_in) = (words(cost), words(cost_in));
        Some(())
    }

    /// `OpenPosition.reduce`; None, and nothing has changed, where a number does not fit.
    fn reduce(&mut self, fill: &Fill) -> Option<()> {
        let volume = self.volume.checked_sub(fill.volume)?;
        let volume_out = self.volume_out.checked_add(fill.volume)?;
        let cost_out = wide(self.cost_out).checked_add(i128::from(fill.volume) * i128::from(fill.price))?;
        self.count(fill)?;
        (self.volume, self.volume_out, self.cost_out) = (volume, volume_out, words(cost_out));
        Some(())
    }

    fn count(&mut self, fill: &Fill) -> Option<()> {
        let commission = self.commission.checked_add(fill.commission)?;
        let fee = self.fee.checked_add(fill.fee)?;
        let swap = self.swap.checked_add(fill.swap)?;
        let profit = self.profit.checked_add(fill.profit)?;
        (self.commission, self.fee, self.swap, self.profit) = (commission, fee, swap, profit);
        Some(())
    }
}

/// What became of a fill.
enum Applied {
    /// It is none of the three cases; nothing has changed.
    Not,
    Open,
    /// The position with this index went flat, and has still to be removed.
    Flat(usize),
}

impl Book {
    /// Apply a fill if it is one of the three cases.
    #[inline(always)]
    fn apply(&mut self, fill: &Fill, loose: Option<&[i64]>, magic: impl Fn() -> Option<i64>) -> Applied {
        let Some(index) = self.find(fill.id) else {
            if fill.entry != ENTRY_IN
                || loose.is_some_and(|ids| fill.id == 0 || ids.binary_search(&fill.id).is_ok())
                || (self.nets && self.id_of(fill.symbol).is_some())
            {
                return Applied::Not;
            }
            self.insert(Position::opened(fill, magic()));
            if self.nets {
                self.set_id(fill.symbol, Some(fill.id));
            }
            return Applied::Open;
        };
        let has_id = !self.nets || self.id_of(fill.symbol).is_some();
        let position = &mut self.positions[index];
        if position.is_out != 0 || position.symbol != fill.symbol {
            return Applied::Not;
        }
        if fill.entry == ENTRY_IN {
            if position.side != fill.side || position.add(fill).is_none() {
                return Applied::Not;
            }
            return Applied::Open;
        }
        if fill.entry == ENTRY_IN_OUT || position.side == fill.side || fill.volume > position.volume {
            return Applied::Not;
        }
        let is_flat = fill.volume == position.volume;
        if (is_flat && !has_id) || position.reduce(fill).is_none() {
            return Applied::Not;
        }
        if !is_flat {
            return Applied::Open;
        }
        position.closed_msc = fill.time_msc;
        Applied::Flat(index)
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
    let column = Column { data: std::ptr::null(), width: 0, nulls: 0, base: 0, step: 0 };
    Box::into_raw(Box::new(Fold {
        book: Book::new(nets != 0),
        pack: Pack { columns: [column; COLUMNS], count: 0, whole: &[], stops: &[], symbols: &[] },
        unpacked: Box::new([[0; CHUNK]; UNPACKED]),
        unpacked_from: usize::MAX,
    }))
}

/// # Safety
/// The fold is one of `ledger_native_new`, and not used any more.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_free(fold: *mut Fold) {
    drop(Box::from_raw(fold));
}

unsafe fn list<T>(from: *const T, count: u64) -> &'static [T] {
    if count == 0 {
        &[]
    } else {
        slice::from_raw_parts(from, count as usize)
    }
}

/// State what `ledger_native_fold` folds from now on: everything has to stay where it is until the next call of this.
///
/// # Safety
/// See the module. `columns` are 12, of `count` rows; `whole` ascend, and there are as many `stops`.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_prepare(
    fold: *mut Fold,
    columns: *const Column,
    count: u64,
    whole: *const u32,
    whole_count: u64,
    stops: *const u8,
    symbols: *const i64,
    symbols_count: u64,
) {
    let fold = &mut *fold;
    fold.unpacked_from = usize::MAX;
    fold.pack = Pack {
        columns: *columns.cast::<[Column; COLUMNS]>(),
        count: count as usize,
        whole: list(whole, whole_count),
        stops: list(stops, whole_count),
        symbols: list(symbols, symbols_count),
    };
}

/// Fold rows `begin` to `end` of what was prepared, up to the first that is none of the three cases. What is stored whole is one of
/// those, or concerns no position and is passed over.
///
/// # Safety
/// See the module. `loose_ids` ascend, NULL where nothing is loose; `closed` has room for `closed_room` positions, one or more. It gets
/// those that went flat: of which Python has more, or all if `wants_closed`.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_fold(
    fold: *mut Fold,
    begin: u64,
    end: u64,
    loose_ids: *const i64,
    loose_count: u64,
    wants_closed: u32,
    closed: *mut Position,
    closed_room: u64,
    run: *mut Run,
) -> i32 {
    let Fold { book, pack, unpacked, unpacked_from } = &mut *fold;
    let loose = (!loose_ids.is_null()).then(|| list(loose_ids, loose_count));
    let (mut at, end) = (begin as usize, (end as usize).min(pack.count));
    let whole_first = pack.whole.partition_point(|&row| (row as usize) < at);
    let mut whole_at = whole_first;
    let next_whole = |number: usize| pack.whole.get(number).map_or(end, |&row| (row as usize).min(end));
    let (mut folded, mut filled_msc, mut closed_count) = (0_i64, 0_i64, 0_usize);
    let mut money = [0_i128; 4];
    let mut outcome = DONE;
    'rows: while at < end {
        let last = next_whole(whole_at);
        if at == last {
            if pack.stops[whole_at] != 0 {
                outcome = GIVEN_BACK;
                break;
            }
            (at, whole_at) = (at + 1, whole_at + 1);
            continue;
        }
        let from = at - at % CHUNK;
        if *unpacked_from != from {
            let size = (pack.count - from).min(CHUNK);
            for (column, into) in pack.columns.iter().zip(unpacked.iter_mut()) {
                column.unpack(from, &mut into[..size]);
            }
            *unpacked_from = from;
        }
        let upto = last.min(from + CHUNK);
        while at < upto {
            if closed_count == closed_room as usize {
                outcome = CLOSED_FULL;
                break 'rows;
            }
            let index = at - from;
            let code = unpacked[SYMBOL][index];
            let Some(&symbol) = usize::try_from(code).ok().and_then(|code| pack.symbols.get(code)) else {
                outcome = DAMAGED;
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
            match book.apply(&fill, loose, || pack.columns[MAGIC].value_or_none(at)) {
                Applied::Not => {
                    outcome = GIVEN_BACK;
                    break 'rows;
                }
                Applied::Open => {}
                Applied::Flat(index) => {
                    let position = &book.positions[index];
                    if wants_closed != 0 || position.has_more != 0 {
                        closed.add(closed_count).write(*position);
                        closed_count += 1;
                    }
                    book.remove(fill.id);
                    if book.nets {
                        book.set_id(fill.symbol, None);
                    }
                }
            }
            folded += 1;
            filled_msc = fill.time_msc;
            money[0] += i128::from(fill.commission);
            money[1] += i128::from(fill.fee);
            money[2] += i128::from(fill.swap);
            money[3] += i128::from(fill.profit);
            at += 1;
        }
    }
    let mut whole_end = whole_at;
    while outcome == GIVEN_BACK
        && next_whole(whole_end) == at + (whole_end - whole_at)
        && at + (whole_end - whole_at) < end
    {
        whole_end += 1;
    }
    *run = Run {
        at: at as i64,
        whole_first: whole_first as i64,
        whole_at: whole_at as i64,
        whole_end: whole_end as i64,
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

/// Copy the position with an id to `into`, and check it out to Python: only its place among the others stays. Return 0 if there
/// is none.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_check_out(fold: *mut Fold, id: i64, into: *mut Position) -> u32 {
    let book = &mut (*fold).book;
    let Some(index) = book.find(id) else { return 0 };
    *into = book.positions[index];
    book.positions[index].is_out = 1;
    1
}

/// Give the position with an id, which is Python's, its place among the others. A new one comes behind all.
///
/// # Safety
/// See the module.
#[no_mangle]
pub unsafe extern "C" fn ledger_native_put(fold: *mut Fold, id: i64) {
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
