//! Table `dedupe_group`: the groups under which ids were recorded, by which an event is found by its provider's id.

use sea_orm::entity::prelude::*;

/// A row of `dedupe_group`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dedupe_group")]
pub struct Model {
    /// A source's name, or the `dedupe_group` that it shares with others.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
}

/// No ORM relations: the store writes its joins out.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
