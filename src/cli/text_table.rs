//! [`TextTable`]: columns that stand under each other.

use std::fmt;

/// Rows of cells under a heading; numbers stand to the right.
#[derive(Debug)]
pub struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with this heading and no rows.
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Whether there are no rows but the heading.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.parse::<i64>().is_ok()
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0))
            .collect();
        let to_right: Vec<bool> = (0..columns)
            .map(|at| {
                !self.is_empty() && self.rows[1..].iter().all(|row| is_number(&cell(row, at)))
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for at in 0..columns {
                let (text, width) = (cell(row, at), widths[at]);
                line.push_str(&if to_right[at] {
                    format!("{text:>width$}  ")
                } else {
                    format!("{text:<width$}  ")
                });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_to_the_right() {
        let mut table = TextTable::new(&["topic", "lag", "owner"]);
        table.row(["orders".to_owned(), "5".to_owned(), "one".to_owned()]);
        table.row(["a".to_owned(), "1200".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "topic    lag  owner\norders     5  one\na       1200\n");
    }
}
