//! Identifies the caller by the token in the header `Authorization`, alone or after the word `Bearer`.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::ApiState;
use super::admin::access::{Administrator, bare};
use super::problem::Problem;
use crate::metadata::Runs;
use crate::model::{ProjectId, ProjectState, ResultType, Run, RunId, Token};

/// The unverified ids in the path and the token of a request. Malformed ids and tokens are treated like unknown ones.
#[derive(Debug)]
pub(super) struct Caller {
    project: Option<ProjectId>,
    run: Option<RunId>,
    presented: PresentedToken,
}

/// The content of the header `Authorization`.
#[derive(Debug)]
enum PresentedToken {
    Nothing,
    Malformed,
    Token(Token),
}

/// The role that a token has in its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The right to everything except uploads.
    Owner,
    /// The right to upload the dataset of this party.
    Provider(u32),
    /// The right to read the result of this party.
    Contributor(u32),
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let param =
            |wanted: &str| params.iter().flatten().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let header = parts.headers.get(AUTHORIZATION);
        Ok(Self {
            project: param("project_id").and_then(ProjectId::parse),
            run: param("run_id").and_then(RunId::parse),
            presented: header.map_or(PresentedToken::Nothing, |value| {
                value
                    .to_str()
                    .ok()
                    .map(bare)
                    .and_then(Token::parse)
                    .map_or(PresentedToken::Malformed, PresentedToken::Token)
            }),
        })
    }
}

/// Permission to create and list projects. All callers have it, unless the operator requires the admin token.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProjectCreator;

impl FromRequestParts<ApiState> for ProjectCreator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        if state.settings.require_admin_token {
            Administrator::from_request_parts(parts, state).await?;
        }
        Ok(Self)
    }
}

impl Caller {
    /// Returns the project, with the run in the path if there is one. Fails if the caller is not the owner.
    pub(super) async fn owner(&self, state: &ApiState) -> Result<ProjectState, Problem> {
        match self.look_up(state).await? {
            (project, Role::Owner) => Ok(project),
            _ => Err(Problem::forbidden()),
        }
    }

    /// Returns the project and the dataset index of the caller's party. Fails if the caller may not upload.
    pub(super) async fn provider(&self, state: &ApiState) -> Result<(ProjectState, u32), Problem> {
        match self.look_up(state).await? {
            (project, Role::Provider(party)) => Ok((project, party)),
            _ => Err(Problem::forbidden()),
        }
    }

    /// Returns the project and the caller's role. Fails unless the caller is the owner, or a party that has uploaded
    /// to a project in which each party gets its own result.
    pub(super) async fn reader(&self, state: &ApiState) -> Result<(ProjectState, Role), Problem> {
        let (project, role) = self.look_up(state).await?;
        let permutes = project.result_type == ResultType::Permutations;
        match role {
            Role::Owner => Ok((project, role)),
            Role::Contributor(_) if permutes => Ok((project, role)),
            Role::Contributor(_) | Role::Provider(_) => Err(Problem::forbidden()),
        }
    }

    /// Returns the project and the caller's role. Fails if the token is not one of the project's.
    pub(super) async fn holder(&self, state: &ApiState) -> Result<(ProjectState, Role), Problem> {
        self.look_up(state).await
    }

    /// Returns the run in the path, if the caller may see its project.
    pub(super) fn run<'a>(&self, project: &'a ProjectState) -> Result<&'a Run, Problem> {
        self.run.and_then(|id| project.run(id)).ok_or_else(Problem::forbidden)
    }

    async fn look_up(&self, state: &ApiState) -> Result<(ProjectState, Role), Problem> {
        let (token, id) = match (&self.presented, self.project) {
            (PresentedToken::Nothing, _) => {
                let missing = "the header Authorization is missing; it must hold the token";
                return Err(Problem::bad_request(missing));
            }
            (PresentedToken::Token(token), Some(id)) => (token, id),
            _ => return Err(Problem::forbidden()),
        };
        let runs = self.run.map_or(Runs::None, Runs::One);
        let project = state.coordinator.project(id, runs).await?.ok_or_else(Problem::forbidden)?;
        let role = role(&project, token).ok_or_else(Problem::forbidden)?;
        Ok((project, role))
    }
}

/// Returns the role of `token` in `project`, if it has one.
fn role(project: &ProjectState, token: &Token) -> Option<Role> {
    let owner = std::iter::once((Role::Owner, project.result_token));
    let parties = (0..).zip(&project.parties).flat_map(|(index, party)| {
        let receipt = party.receipt_token.map(|receipt| (Role::Contributor(index), receipt));
        std::iter::once((Role::Provider(index), party.update_token)).chain(receipt)
    });
    owner.chain(parties).find(|(_, hash)| hash.is_of(token)).map(|(role, _)| role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Party;
    use crate::runtime::clock::Timestamp;

    #[test]
    fn a_token_opens_what_it_was_made_for() {
        let token = |byte| Token::from_bytes([byte; 24]);
        let mut second = Party::new(token(2).hash());
        second.receipt_token = Some(token(3).hash());
        let project = ProjectState {
            id: ProjectId::from_bytes([9; 24]),
            added: Timestamp::default(),
            name: String::new(),
            notes: String::new(),
            schema: "{}".to_owned(),
            result_type: ResultType::Permutations,
            uses_blocking: false,
            encoding_bytes: None,
            result_token: token(0).hash(),
            parties: vec![Party::new(token(1).hash()), second],
            runs: Vec::new(),
        };
        let expected = [Some(Role::Owner), Some(Role::Provider(0)), Some(Role::Provider(1))];
        let found: Vec<_> = (0..5).map(|byte| role(&project, &token(byte))).collect();
        assert_eq!(found[..3], expected);
        assert_eq!(found[3..], [Some(Role::Contributor(1)), None]);
    }
}
