//! TS 29.228 annex E — writing an IMSSubscription, as an HSS does.

use quick_xml::escape::escape;
use scscf::profile::{
    Condition, DefaultHandling, IdentityType, InitialFilterCriteria, PublicIdentity, ServicePointTrigger,
    ServiceProfile, Subscription,
};
use std::fmt::Display;

/// The document of a subscription, in the order of the schema.
pub fn to_xml(subscription: &Subscription) -> Vec<u8> {
    let mut xml = Xml(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
    xml.element("IMSSubscription", |xml| {
        xml.text("PrivateID", &subscription.private_id);
        for profile in &subscription.profiles {
            xml.element("ServiceProfile", |xml| service_profile(xml, profile));
        }
    });
    xml.0.into_bytes()
}

struct Xml(String);

impl Xml {
    fn element(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        for piece in ["<", name, ">"] {
            self.0.push_str(piece);
        }
        fill(self);
        for piece in ["</", name, ">"] {
            self.0.push_str(piece);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.element(name, |xml| xml.0.push_str(&escape(value)));
    }

    fn value(&mut self, name: &str, value: impl Display) {
        self.text(name, &value.to_string());
    }
}

fn service_profile(xml: &mut Xml, profile: &ServiceProfile) {
    for identity in &profile.identities {
        xml.element("PublicIdentity", |xml| public_identity(xml, identity));
    }
    if profile.media_profile.is_some() || !profile.service_ids.is_empty() {
        xml.element("CoreNetworkServicesAuthorization", |xml| {
            if let Some(id) = profile.media_profile {
                xml.value("SubscribedMediaProfileId", id);
            }
            if !profile.service_ids.is_empty() {
                xml.element("Extension", |xml| {
                    xml.element("ListOfServiceIds", |xml| {
                        for id in &profile.service_ids {
                            xml.text("ServiceId", id);
                        }
                    });
                });
            }
        });
    }
    for criterion in profile.criteria.iter() {
        xml.element("InitialFilterCriteria", |xml| initial_filter_criteria(xml, criterion));
    }
    if !profile.shared_criteria.is_empty() {
        xml.element("Extension", |xml| {
            for id in &profile.shared_criteria {
                xml.value("SharedIFCSetID", id);
            }
        });
    }
}

fn public_identity(xml: &mut Xml, identity: &PublicIdentity) {
    if identity.barred {
        xml.value("BarringIndication", 1);
    }
    xml.text("Identity", &identity.text);
    let psi = identity.kind == IdentityType::WildcardedPsi;
    let wildcarded_psi = identity.wildcard.as_ref().filter(|_| psi);
    let wildcarded_impu = identity.wildcard.as_ref().filter(|_| !psi);
    let third = wildcarded_impu.is_some();
    let second = third || identity.display_name.is_some() || identity.alias_group.is_some();
    if !second && wildcarded_psi.is_none() && identity.kind == IdentityType::PublicUserIdentity {
        return;
    }
    xml.element("Extension", |xml| {
        xml.value("IdentityType", identity.kind as u32);
        if let Some(wildcard) = wildcarded_psi {
            xml.text("WildcardedPSI", wildcard);
        }
        if second {
            xml.element("Extension", |xml| {
                if let Some(name) = &identity.display_name {
                    xml.text("DisplayName", name);
                }
                if let Some(group) = &identity.alias_group {
                    xml.text("AliasIdentityGroupID", group);
                }
                if let Some(wildcard) = wildcarded_impu {
                    xml.element("Extension", |xml| xml.text("WildcardedIMPU", wildcard));
                }
            });
        }
    });
}

fn initial_filter_criteria(xml: &mut Xml, criterion: &InitialFilterCriteria) {
    xml.value("Priority", criterion.priority);
    if let Some(trigger) = &criterion.trigger {
        xml.element("TriggerPoint", |xml| {
            xml.value("ConditionTypeCNF", u8::from(trigger.cnf));
            for spt in &trigger.spts {
                xml.element("SPT", |xml| service_point_trigger(xml, spt));
            }
        });
    }
    let server = &criterion.application_server;
    xml.element("ApplicationServer", |xml| {
        xml.text("ServerName", &server.server_name);
        let terminated = server.default_handling == DefaultHandling::SessionTerminated;
        xml.value("DefaultHandling", u8::from(terminated));
        if let Some(text) = &server.service_info {
            xml.text("ServiceInfo", text);
        }
        if server.include_register_request || server.include_register_response {
            xml.element("Extension", |xml| {
                if server.include_register_request {
                    xml.element("IncludeRegisterRequest", |_| {});
                }
                if server.include_register_response {
                    xml.element("IncludeRegisterResponse", |_| {});
                }
            });
        }
    });
    if let Some(part) = criterion.profile_part {
        xml.value("ProfilePartIndicator", part);
    }
}

fn service_point_trigger(xml: &mut Xml, spt: &ServicePointTrigger) {
    xml.value("ConditionNegated", u8::from(spt.negated));
    for group in &spt.groups {
        xml.value("Group", group);
    }
    match &spt.condition {
        Condition::RequestUri(pattern) => xml.text("RequestURI", pattern),
        Condition::Method(method) => xml.text("Method", method),
        Condition::Header { header, content } => {
            pair(xml, "SIPHeader", ("Header", header), content.as_deref())
        }
        Condition::SessionCase(case) => xml.value("SessionCase", case),
        Condition::SessionDescription { line, content } => {
            pair(xml, "SessionDescription", ("Line", line), content.as_deref());
        }
    }
    if !spt.registration_types.is_empty() {
        xml.element("Extension", |xml| {
            for kind in &spt.registration_types {
                xml.value("RegistrationType", kind);
            }
        });
    }
}

fn pair(xml: &mut Xml, name: &str, first: (&str, &str), content: Option<&str>) {
    xml.element(name, |xml| {
        xml.text(first.0, first.1);
        if let Some(content) = content {
            xml.text("Content", content);
        }
    });
}
