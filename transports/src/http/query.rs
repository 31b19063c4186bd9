//! The parameters of polls. All of them are decimal numbers, so percent-decoding is not needed and
//! nothing is allocated.

use pabal_core::model::Seq;
use pabal_core::protocol::Problem;

/// The query of a request to a transport. Unknown parameters are ignored; of a repeated one the first
/// counts.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(crate) fn new(query: &'a str) -> Self {
        Self(query)
    }

    fn get(self, name: &str) -> Option<&'a str> {
        self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then_some(value)
        })
    }

    /// `after`: the highest seq that the client has received. Absent, the session continues at what was
    /// confirmed last.
    ///
    /// # Errors
    /// `invalid`, if it is not a decimal number below 2^63. Do not retry.
    pub fn after(self) -> Result<Option<Seq>, Problem> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Problem::invalid("after", "must be a decimal number"))
        };
        self.get("after").map(parse).transpose()
    }

    /// A parameter that is a whole number, not negative.
    ///
    /// # Errors
    /// `invalid`, if it is anything else. Do not retry.
    pub fn number(self, name: &'static str) -> Result<Option<u64>, Problem> {
        let parse =
            |text: &str| text.parse().map_err(|_| Problem::invalid(name, "must be a whole number"));
        self.get(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_gives_numbers_or_names_the_wrong_parameter() {
        let query = Query::new("wait_ms=50&after=7&limit=x");
        assert_eq!(query.after(), Ok(Some(Seq::new(7))));
        assert_eq!(query.number("wait_ms"), Ok(Some(50)));
        assert_eq!(query.number("absent"), Ok(None));
        let problem = query.number("limit").unwrap_err();
        assert_eq!(problem.errors[0].field, "limit");
        assert!(Query::new("after=-1").after().is_err());
    }
}
