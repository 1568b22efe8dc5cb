//! `/` and `/page/...`: the page of the instance and its files, which are part of the program.
//!
//! They answer without a token, since they tell nothing; the page asks for the token and sends it
//! with its requests. Nothing is loaded from elsewhere, and the policy below lets nothing be.

use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::http::response::{self, Failure, Response};
use crate::http::route::{Call, Route};

/// Files of this server alone, no inline script or style, and no page that shows this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($name:literal, $content_type:expr) => {
        ($name, $content_type, include_str!(concat!("../../../dashboards/page/", $name)))
    };
}

/// Name, content type and text.
static FILES: [(&str, &str, &str); 10] = [
    file!("index.html", HTML),
    file!("style.css", CSS),
    file!("icon.svg", SVG),
    file!("main.js", SCRIPT),
    file!("server.js", SCRIPT),
    file!("text.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("graph.js", SCRIPT),
    file!("tasks.js", SCRIPT),
    file!("market.js", SCRIPT),
];

/// The routes of the page.
pub fn routes() -> [Route; 2] {
    [
        Route::get("", |_| file("index.html")).without_token(),
        Route::get("page/{file}", |call: &Call<'_>| file(call.variable(0))).without_token(),
    ]
}

fn file(name: &str) -> Result<Response, Failure> {
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, content_type, text) = found
        .ok_or_else(|| Failure::not_found(format!("the page has no file {name}"), "open /"))?;
    let mut response = response::text(content_type, (*text).to_owned());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(file(&name).is_ok(), "{name}");
        }
        assert!(file("../README.md").is_err());
    }

    #[test]
    fn the_page_names_nothing_of_other_sites() {
        for (name, _, text) in FILES {
            // The name of a vocabulary is no address that anything is loaded from.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{name}");
        }
    }
}
