//! The server's own routes, a file a resource.

mod books;
pub mod events;
mod health;
mod metadata;
mod metrics;
mod page;
mod stores;
mod tasks;
mod topology;

use std::sync::Arc;

use super::route::Route;
use events::Events;

/// The routes that every instance has.
#[must_use]
pub fn routes(events: &Arc<Events>) -> Vec<Route> {
    let mut routes = vec![
        Route::get("healthz", health::alive).without_token(),
        Route::get("readyz", health::ready).without_token(),
        Route::get("metrics", metrics::metrics),
        Route::get("tasks", tasks::tasks),
        Route::get("topology", topology::topology),
        Route::get("books/{asset}", books::book),
        Route::get("metadata", metadata::metadata),
        Route::get("stores", stores::list),
        Route::get("stores/{store}", stores::range),
        Route::get("stores/{store}/{key}", stores::key),
        events.route(),
    ];
    routes.extend(page::routes());
    routes
}
