//! DELETE of a collection: what a list shows, each by itself.

use api_machinery::{ApiError, Reason};
use futures::{StreamExt, TryStreamExt};

use crate::scope::Scope;
use crate::{DeleteOptions, List, ListOptions, Registry, Target, delete};

/// Deletes under way at once.
const AT_ONCE: usize = 16;

impl Registry {
    pub(crate) async fn delete_all(
        &self,
        scope: &Scope<'_>,
        target: &Target<'_>,
        list: ListOptions,
        options: &DeleteOptions,
    ) -> Result<List, ApiError> {
        delete::warn_of_orphans(scope, options);
        let mut shown = self.list(target, list).await?;
        let deletes = shown.objects.iter().map(|object| {
            // A list over all namespaces deletes in each object's own.
            let scope = Scope { namespace: &object.key.namespace, ..*scope };
            async move {
                match self.delete_object(&scope, &object.key.name, options).await {
                    Err(error) if error.reason == Reason::NotFound => Ok(None),
                    other => other.map(|written| Some(written.revision)),
                }
            }
        });
        let deletes: Vec<_> = deletes.collect();
        let deletes = futures::stream::iter(deletes).buffer_unordered(AT_ONCE);
        let last = deletes.try_fold(None, |last, own| async move { Ok::<_, ApiError>(last.max(own)) }).await?;
        shown.deleted = last;
        Ok(shown)
    }
}
