//! Rows of one of upstream's tables compared with what is here, less what is known to differ.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

/// A table, a row of it (`apps.v1beta1.*`: every row that begins so), and why it does not hold here.
pub(crate) type Exception = (&'static str, &'static str, &'static str);

/// The columns of a row by the names in the table's first line; `-` is empty.
pub(crate) struct Row(BTreeMap<String, String>);

impl Row {
    pub(crate) fn get(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column} in {:?}", self.0))
    }

    /// A column of words between commas, the empty word among them.
    pub(crate) fn list(&self, column: &str) -> Vec<&str> {
        let text = self.get(column);
        if text.is_empty() { Vec::new() } else { text.split(',').collect() }
    }
}

pub(crate) fn rows(table: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(table).expect("a table");
    let mut lines = text.lines();
    let names = lines.next().expect("a line of names").trim_start_matches('#').split('\t');
    let names: Vec<&str> = names.collect();
    let cell = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
    let row = |line: &str| {
        let cells = line.split('\t').map(cell).chain(std::iter::repeat(String::new()));
        Row(names.iter().map(|name| (*name).to_owned()).zip(cells).collect())
    };
    lines.filter(|line| !line.is_empty()).map(row).collect()
}

pub(crate) struct Report {
    table: &'static str,
    /// Those of this table, with how many differences each stands for.
    exceptions: Vec<(Exception, usize)>,
    rows: usize,
    compared: usize,
    wrong: Vec<String>,
}

impl Report {
    pub(crate) fn new(table: &'static str, exceptions: &[Exception]) -> Self {
        let of_table = exceptions.iter().filter(|(of, _, _)| *of == table).map(|one| (*one, 0)).collect();
        Self { table, exceptions: of_table, rows: 0, compared: 0, wrong: Vec::new() }
    }

    pub(crate) fn row(&mut self) {
        self.rows += 1;
    }

    pub(crate) fn compare<T: PartialEq + Debug>(&mut self, row: &str, what: &str, own: T, upstream: T) {
        self.compared += 1;
        if own != upstream {
            self.differs(row, &format!("{what} is {own:?}, not {upstream:?}"));
        }
    }

    pub(crate) fn differs(&mut self, row: &str, how: &str) {
        let stands_for = |pattern: &str| match pattern.strip_suffix('*') {
            Some(begin) => row.starts_with(begin),
            None => row == pattern,
        };
        match self.exceptions.iter_mut().find(|((_, pattern, _), _)| stands_for(pattern)) {
            Some((_, count)) => *count += 1,
            None => self.wrong.push(format!("{row}: {how}")),
        }
    }

    /// Prints what was compared; fails for differences, and for exceptions that are none any more.
    pub(crate) fn finish(self) {
        let Self { table, exceptions, rows, compared, mut wrong } = self;
        println!("golden {table}: {rows} rows, {compared} facts compared, {} differences", wrong.len());
        // Other tables than those beside the checkout need not have the rows.
        let is_beside = std::env::var_os("GOLDEN_DIR").is_none();
        for ((_, row, reason), count) in exceptions {
            println!("  excepted {count} times: {row}: {reason}");
            if count == 0 && is_beside {
                wrong.push(format!("{row}: an exception that nothing needs"));
            }
        }
        assert!(rows > 0, "{table}: no rows");
        assert!(wrong.is_empty(), "{table}:\n{}", wrong.join("\n"));
    }
}
