//! What projects decided about features.

use longshore_core::ProjectId;
use longshore_core::features::Feature;
use longshore_core::ports::StoreError;

use super::Changing;
use crate::connect::Store;
use crate::error::sort;

impl Store {
    /// What a project decided, feature by feature. Names that no feature has are left out: an older version knew them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn project_features(&self, project: ProjectId) -> Result<Vec<(Feature, bool)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT feature, is_enabled FROM project_features WHERE project_id = $1 ORDER BY feature",
            project.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        Ok(rows.into_iter().filter_map(|row| Some((row.feature.parse().ok()?, row.is_enabled))).collect())
    }
}

impl Changing {
    /// Notes what a project decides.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn decide_feature(
        &mut self,
        project: ProjectId,
        feature: Feature,
        is_enabled: bool,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO project_features (project_id, feature, is_enabled) VALUES ($1, $2, $3)
             ON CONFLICT (project_id, feature) DO UPDATE SET is_enabled = excluded.is_enabled",
            project.as_uuid(),
            feature.as_str(),
            is_enabled
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }
}
