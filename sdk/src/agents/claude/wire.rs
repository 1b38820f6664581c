//! The lines of Claude Code's `--output-format stream-json`, as borrowed types.
//!
//! Only the fields that are read stand here; all others are skipped without being looked at. A field of a type other than the
//! expected one counts as absent: one odd field must not cost the usage that stands beside it.
//!
//! The format is described at <https://code.claude.com/docs/en/headless>; the recorded streams under
//! `tests/fixtures/claude-2.1.197` show what the program really prints.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Text, or absent.
#[derive(Debug, Default, Clone)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(super) fn to_owned(&self) -> Option<String> {
        self.0.as_deref().map(str::to_owned)
    }

    /// The text, or nothing.
    pub(super) fn or_empty(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// A number that counts, or absent. Fractions are cut off.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count(pub(super) Option<u64>);

/// A number, or absent.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Number(pub(super) Option<f64>);

/// A boolean; absent and anything else is false.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

/// Many of one thing, or one text in their place.
#[derive(Debug)]
pub(super) struct Many<'a, T> {
    pub(super) items: Vec<T>,
    pub(super) text: Text<'a>,
}

impl<T> Default for Many<'_, T> {
    fn default() -> Self {
        Self { items: Vec::new(), text: Text(None) }
    }
}

/// What any JSON value may be, for the lenient types above.
enum Scalar<'a> {
    Nothing,
    Bool(bool),
    Number(f64),
    Count(u64),
    Text(Cow<'a, str>),
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Count(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Nothing)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => Self(Some(text)),
            _ => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Count(count) => Self(Some(count)),
            // A float-to-integer cast saturates; negative and not-a-number are no counts.
            Scalar::Number(number) if number >= 0.0 => Self(Some(number as u64)),
            _ => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Count(count) => Self(Some(count as f64)),
            Scalar::Number(number) if number.is_finite() => Self(Some(number)),
            _ => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(matches!(deserializer.deserialize_any(ScalarVisitor)?, Scalar::Bool(true))))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Many<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ManyVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
            type Value = Many<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or a text")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Many { items, text: Text(None) })
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Many { items: Vec::new(), text: Text(Some(Cow::Borrowed(value))) })
            }
            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Many { items: Vec::new(), text: Text(Some(Cow::Owned(value.to_owned()))) })
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Many::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Many::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Many::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Many::default())
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Many::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Many::default())
            }
        }
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

/// An object; anything else counts as an empty one.
struct Object<T>(T);

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(T::default())
            }
            fn visit_str<E>(self, _: &str) -> Result<T, E> {
                Ok(T::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<T, E> {
                Ok(T::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<T, E> {
                Ok(T::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<T, E> {
                Ok(T::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<T, E> {
                Ok(T::default())
            }
            fn visit_unit<E>(self) -> Result<T, E> {
                Ok(T::default())
            }
        }
        deserializer.deserialize_any(ObjectVisitor(PhantomData)).map(Self)
    }
}

fn object<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

fn objects<'de: 'a, 'a, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<Many<'a, T>, D::Error> {
    let Many { items, text } = Many::<Object<T>>::deserialize(deserializer)?;
    Ok(Many { items: items.into_iter().map(|Object(item)| item).collect(), text })
}

/// Tokens by the name of a model, or absent.
#[derive(Debug, Default)]
pub(super) struct ByModel(pub(super) Option<BTreeMap<String, ModelUsage>>);

impl<'de> Deserialize<'de> for ByModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default)]
        struct Models(Option<BTreeMap<String, ModelUsage>>);
        impl<'de> Deserialize<'de> for Models {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let models: BTreeMap<String, Object<ModelUsage>> = Deserialize::deserialize(deserializer)?;
                Ok(Self(Some(models.into_iter().map(|(model, Object(usage))| (model, usage)).collect())))
            }
        }
        object(deserializer).map(|Models(models)| Self(models))
    }
}

/// The arguments of a tool call: kept where every event is wanted, skipped where only the verdict is.
pub(super) trait Input<'de>: Default + Deserialize<'de> {
    fn into_value(self) -> Value;
}

impl Input<'_> for Value {
    fn into_value(self) -> Value {
        self
    }
}

impl Input<'_> for IgnoredAny {
    fn into_value(self) -> Value {
        Value::Null
    }
}

/// Any line: only what kind it is.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) subtype: Text<'a>,
}

/// `{"type":"system",…}`: the fields of all its subtypes.
#[derive(Debug, Deserialize)]
pub(super) struct System<'a> {
    #[serde(borrow, default)]
    pub(super) session_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) model: Text<'a>,
    #[serde(borrow, default)]
    pub(super) claude_code_version: Text<'a>,
    #[serde(borrow, default, deserialize_with = "objects")]
    pub(super) mcp_servers: Many<'a, McpStatus<'a>>,
    #[serde(default)]
    pub(super) attempt: Count,
    #[serde(default)]
    pub(super) max_retries: Count,
    #[serde(default)]
    pub(super) retry_delay_ms: Count,
    #[serde(default)]
    pub(super) error_status: Count,
    #[serde(borrow, default)]
    pub(super) error: Text<'a>,
    #[serde(borrow, default)]
    pub(super) task_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) description: Text<'a>,
    #[serde(borrow, default)]
    pub(super) summary: Text<'a>,
    #[serde(borrow, default)]
    pub(super) status: Text<'a>,
    #[serde(borrow, default, deserialize_with = "object")]
    pub(super) patch: Patch<'a>,
    #[serde(borrow, default)]
    pub(super) hook_name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) outcome: Text<'a>,
    #[serde(borrow, default)]
    pub(super) stderr: Text<'a>,
    #[serde(borrow, default)]
    pub(super) content: Text<'a>,
    #[serde(borrow, default)]
    pub(super) tasks: Many<'a, IgnoredAny>,
}

/// What became of one MCP server.
#[derive(Debug, Default, Deserialize)]
pub(super) struct McpStatus<'a> {
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) status: Text<'a>,
}

/// The change of a sub-agent's state.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Patch<'a> {
    #[serde(borrow, default)]
    pub(super) status: Text<'a>,
}

/// `{"type":"assistant",…}` and `{"type":"user",…}`.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "I: Input<'de>"))]
pub(super) struct Turn<'a, I> {
    #[serde(borrow, default, deserialize_with = "object")]
    pub(super) message: Message<'a, I>,
    #[serde(borrow, default)]
    pub(super) parent_tool_use_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) session_id: Text<'a>,
    /// The kind of failure, on messages that the program itself made up.
    #[serde(borrow, default)]
    pub(super) error: Text<'a>,
}

/// A message of a model or to it.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "I: Input<'de>"))]
pub(super) struct Message<'a, I> {
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) model: Text<'a>,
    #[serde(borrow, default, deserialize_with = "objects")]
    pub(super) content: Many<'a, Block<'a, I>>,
    #[serde(default, deserialize_with = "object")]
    pub(super) usage: MessageUsage,
}

impl<I> Default for Message<'_, I> {
    fn default() -> Self {
        Self { id: Text(None), model: Text(None), content: Many::default(), usage: MessageUsage::default() }
    }
}

/// A part of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(bound(deserialize = "I: Input<'de>"))]
pub(super) struct Block<'a, I> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) text: Text<'a>,
    #[serde(borrow, default)]
    pub(super) thinking: Text<'a>,
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(default)]
    pub(super) input: I,
    #[serde(borrow, default)]
    pub(super) tool_use_id: Text<'a>,
    #[serde(default)]
    pub(super) is_error: Flag,
    #[serde(borrow, default, deserialize_with = "objects")]
    pub(super) content: Many<'a, Part<'a>>,
}

/// A part of a tool's answer.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Part<'a> {
    #[serde(borrow, default)]
    pub(super) text: Text<'a>,
}

/// Tokens of one message, in the words of the Messages API: the three input counts do not overlap.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) struct MessageUsage {
    #[serde(default)]
    pub(super) input_tokens: Count,
    #[serde(default)]
    pub(super) cache_creation_input_tokens: Count,
    #[serde(default)]
    pub(super) cache_read_input_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens: Count,
}

/// `{"type":"stream_event",…}`, printed under `--include-partial-messages`: only its usage is read.
#[derive(Debug, Deserialize)]
pub(super) struct Partial<'a> {
    #[serde(borrow, default, deserialize_with = "object")]
    pub(super) event: PartialEvent<'a>,
    #[serde(borrow, default)]
    pub(super) parent_tool_use_id: Text<'a>,
}

/// An event of the Messages API's own stream.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PartialEvent<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default, deserialize_with = "object")]
    pub(super) message: Message<'a, IgnoredAny>,
    #[serde(default, deserialize_with = "object")]
    pub(super) usage: MessageUsage,
}

/// `{"type":"result",…}`: the terminal event.
#[derive(Debug, Deserialize)]
pub(super) struct Final<'a> {
    #[serde(borrow, default)]
    pub(super) subtype: Text<'a>,
    #[serde(default)]
    pub(super) is_error: Flag,
    #[serde(default)]
    pub(super) api_error_status: Count,
    #[serde(default)]
    pub(super) num_turns: Count,
    #[serde(borrow, default)]
    pub(super) result: Text<'a>,
    #[serde(borrow, default)]
    pub(super) errors: Many<'a, Text<'a>>,
    #[serde(borrow, default)]
    pub(super) stop_reason: Text<'a>,
    #[serde(borrow, default)]
    pub(super) terminal_reason: Text<'a>,
    #[serde(borrow, default)]
    pub(super) session_id: Text<'a>,
    #[serde(default)]
    pub(super) total_cost_usd: Number,
    #[serde(default, deserialize_with = "object")]
    pub(super) usage: MessageUsage,
    /// Newer versions count the whole session here, what was there before a resume included.
    #[serde(default, rename = "modelUsage")]
    pub(super) model_usage: ByModel,
    /// What is new since the program's start, or since its last result.
    #[serde(default)]
    pub(super) model_usage_since_last_result: ByModel,
}

/// What one model was asked and billed, in all.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelUsage {
    #[serde(default)]
    pub(super) input_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens: Count,
    #[serde(default)]
    pub(super) cache_read_input_tokens: Count,
    #[serde(default)]
    pub(super) cache_creation_input_tokens: Count,
    #[serde(default, rename = "costUSD")]
    pub(super) cost_usd: Number,
}
