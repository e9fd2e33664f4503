//! The JSON schemas that Clipper prints into its error texts.

pub(super) const ADD_APPLICATION: &str = r#"
  {
   "name" := string,
   "input_type" := "integers" | "bytes" | "floats" | "doubles" | "strings",
   "default_output" := string,
   "latency_slo_micros" := int
  }
"#;

pub(super) const APPLICATION_NAME: &str = r#"
  {
   "name" := string
  }
"#;

pub(super) const LINKS: &str = r#"
  {
   "app_name" := string,
   "model_names" := [string]
  }
"#;

pub(super) const LINKED_MODELS: &str = r#"
  {
   "app_name" := string
  }
"#;

pub(super) const STATE: &str = r#"
  {
   "app_name" := string,
   "uid" := int
  }
"#;

pub(super) const VERBOSE: &str = r#"
  {
   "verbose" := bool
  }
"#;

pub(super) const ADD_MODEL: &str = r#"
  {
   "model_name" := string,
   "model_version" := string,
   "labels" := [string],
   "input_type" := "integers" | "bytes" | "floats" | "doubles" | "strings",
   "container_name" := string,
   "model_data_path" := string,
   "batch_size" := int
  }
"#;

pub(super) const MODEL_VERSION: &str = r#"
  {
   "model_name" := string,
   "model_version" := string
  }
"#;

pub(super) const CONTAINER: &str = r#"
  {
   "model_name" := string,
   "model_version" := string,
   "replica_id" := int
  }
"#;
