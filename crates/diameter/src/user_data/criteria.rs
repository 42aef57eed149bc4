//! TS 29.228 annex E — InitialFilterCriteria. What XML allows and sense does not makes one criterion `None`, not the
//! document an error.

use super::elements::Elements;
use scscf::{
    cx::UserDataError,
    profile::{
        ApplicationServer, Condition, DefaultHandling, InitialFilterCriteria, ServicePointTrigger,
        TriggerPoint,
    },
};

type Read<T> = Result<Option<T>, UserDataError>;

const LAST_SESSION_CASE: u32 = 4;
const LAST_REGISTRATION_TYPE: u32 = 2;

pub(super) fn read(elements: &mut Elements<'_>) -> Read<InitialFilterCriteria> {
    let mut priority = None;
    let mut trigger = None;
    let mut server = None;
    let mut profile_part = None;
    let mut sound = true;
    while let Some(name) = elements.child()? {
        match name {
            "Priority" => priority = elements.number()?,
            "TriggerPoint" => {
                trigger = trigger_point(elements)?;
                sound &= trigger.is_some();
            }
            "ApplicationServer" => server = application_server(elements)?,
            "ProfilePartIndicator" => {
                profile_part = elements.number()?;
                sound &= matches!(profile_part, Some(0 | 1));
            }
            _ => elements.skip()?,
        }
    }
    Ok(match (priority, server) {
        (Some(priority), Some(application_server)) if sound => {
            Some(InitialFilterCriteria { priority, trigger, application_server, profile_part })
        }
        _ => None,
    })
}

fn trigger_point(elements: &mut Elements<'_>) -> Read<TriggerPoint> {
    let mut cnf = None;
    let mut spts = Vec::new();
    let mut sound = true;
    while let Some(name) = elements.child()? {
        match name {
            "ConditionTypeCNF" => cnf = elements.boolean()?,
            "SPT" => match service_point_trigger(elements)? {
                Some(spt) => spts.push(spt),
                None => sound = false,
            },
            _ => elements.skip()?,
        }
    }
    Ok(cnf.filter(|_| sound && !spts.is_empty()).map(|cnf| TriggerPoint { cnf, spts }))
}

fn service_point_trigger(elements: &mut Elements<'_>) -> Read<ServicePointTrigger> {
    let mut negated = Some(false);
    let mut groups = Vec::new();
    let mut condition = None;
    let mut registration_types = Vec::new();
    let mut conditions = 0;
    let mut sound = true;
    while let Some(name) = elements.child()? {
        match name {
            "ConditionNegated" => negated = elements.boolean()?,
            "Group" => match elements.number()? {
                Some(group) => groups.push(group),
                None => sound = false,
            },
            "RequestURI" => {
                (conditions, condition) =
                    (conditions + 1, Some(Condition::RequestUri(elements.text()?.into())))
            }
            "Method" => {
                (conditions, condition) = (conditions + 1, Some(Condition::Method(elements.text()?.into())))
            }
            "SIPHeader" => {
                let pair = pair(elements, "Header")?;
                (conditions, condition) =
                    (conditions + 1, pair.map(|(header, content)| Condition::Header { header, content }));
            }
            "SessionCase" => {
                let case = elements.number()?.filter(|case| *case <= LAST_SESSION_CASE);
                (conditions, condition) = (conditions + 1, case.map(Condition::SessionCase));
            }
            "SessionDescription" => {
                let pair = pair(elements, "Line")?;
                (conditions, condition) = (
                    conditions + 1,
                    pair.map(|(line, content)| Condition::SessionDescription { line, content }),
                );
            }
            "Extension" => {
                while let Some(name) = elements.child()? {
                    if name == "RegistrationType" {
                        let kind = elements.number()?.filter(|kind| *kind <= LAST_REGISTRATION_TYPE);
                        sound &= kind.is_some();
                        registration_types.extend(kind);
                    } else {
                        elements.skip()?;
                    }
                }
            }
            _ => elements.skip()?,
        }
    }
    sound &= !groups.is_empty() && conditions == 1;
    Ok(match (negated, condition) {
        (Some(negated), Some(condition)) if sound => {
            Some(ServicePointTrigger { negated, groups, condition, registration_types })
        }
        _ => None,
    })
}

/// SIPHeader and SessionDescription: a first member of name `first`, and an optional Content.
fn pair(elements: &mut Elements<'_>, first: &str) -> Read<(Box<str>, Option<Box<str>>)> {
    let mut name = None;
    let mut content = None;
    while let Some(member) = elements.child()? {
        if member == first {
            name = Some(elements.text()?.into());
        } else if member == "Content" {
            content = Some(elements.text()?.into());
        } else {
            elements.skip()?;
        }
    }
    Ok(name.map(|name| (name, content)))
}

fn application_server(elements: &mut Elements<'_>) -> Read<ApplicationServer> {
    let mut server_name = None;
    let mut default_handling = Some(DefaultHandling::SessionContinued);
    let mut service_info = None;
    let mut include_register_request = false;
    let mut include_register_response = false;
    while let Some(name) = elements.child()? {
        match name {
            "ServerName" => server_name = Some(elements.text()?).filter(|name| !name.is_empty()),
            "DefaultHandling" => {
                default_handling = match elements.number()? {
                    Some(0) => Some(DefaultHandling::SessionContinued),
                    Some(1) => Some(DefaultHandling::SessionTerminated),
                    _ => None,
                };
            }
            "ServiceInfo" => service_info = Some(elements.text()?.into()),
            "Extension" => {
                while let Some(name) = elements.child()? {
                    match name {
                        "IncludeRegisterRequest" => include_register_request = is_asked(elements)?,
                        "IncludeRegisterResponse" => include_register_response = is_asked(elements)?,
                        _ => elements.skip()?,
                    }
                }
            }
            _ => elements.skip()?,
        }
    }
    Ok(match (server_name, default_handling) {
        (Some(server_name), Some(default_handling)) => Some(ApplicationServer {
            server_name: server_name.into(),
            default_handling,
            service_info,
            include_register_request,
            include_register_response,
        }),
        _ => None,
    })
}

/// The schema gives these elements no content: to be there is to say yes. Some HSSs write a boolean into them.
fn is_asked(elements: &mut Elements<'_>) -> Result<bool, UserDataError> {
    Ok(elements.boolean()? != Some(false))
}
