//! Refused requests, as people look at them.

use entity::rejection;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::keyset::{cursor, limit, moment, page};
use super::{Page, RejectionFilter};
use crate::store::Store;
use crate::store::error::StoreError;

impl Store {
    /// A page of kept rejections, newest first, with their bytes.
    pub async fn rejections(
        &self,
        filter: &RejectionFilter,
    ) -> Result<Page<rejection::Model>, StoreError> {
        let filter = filter.clone();
        self.detached(move |database| async move {
            let orm = database.orm();
            let limit = limit(filter.limit);
            let mut query = rejection::Entity::find()
                .order_by_desc(rejection::Column::Id)
                .limit(limit as u64 + 1);
            if let Some(after) = cursor(filter.cursor.as_deref())? {
                query = query.filter(rejection::Column::Id.lt(after));
            }
            if let Some(source) = &filter.source {
                query = query.filter(rejection::Column::Source.eq(source));
            }
            if let Some(code) = &filter.code {
                query = query.filter(rejection::Column::Code.eq(code));
            }
            if let Some(id) = filter.id {
                query = query.filter(rejection::Column::Id.eq(id));
            }
            if let Some(since) = filter.since {
                let since = moment(orm, since);
                query = query.filter(Expr::col(rejection::Column::ReceivedAt).gte(since));
            }
            let models = query.all(orm).await?;
            Ok(page(models, limit, |model: &rejection::Model| model.id))
        })
        .await
    }
}
