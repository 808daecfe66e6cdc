//! The same binary and manifest against moto, which nobody here wrote. Its services never settle: `--detach`.

use deployer_tests::deployer::{Deployer, Finished, exit};
use deployer_tests::manifest::Manifest;
use deployer_tests::moto::Moto;
use deployer_tests::prepared::Prepared;
use deployer_tests::python;
use deployer_tests::recorder::{Recorder, Side};
use serde_json::{Value, json};
use tempfile::TempDir;

struct OnMoto {
    deployer: Deployer,
    manifest: Manifest,
    recorder: Recorder,
    prepared: Prepared,
    folder: TempDir,
    _moto: Moto,
}

impl OnMoto {
    fn start(prepared: Prepared) -> Self {
        let (moto, made) = Moto::start(&prepared);
        let recorder = Recorder::start(Side::Aws, moto.url());
        let mut environment = moto.environment(recorder.url());
        environment.insert(
            "IDP_DATABASE_URL_AWS".into(),
            "postgresql://a:b@127.0.0.1/c".into(),
        );
        environment.insert("IDP_CLIENT_SECRET".into(), "the first secret".into());
        let mut manifest = Manifest::new("idp", prepared.image("1.0.0"));
        manifest.gcp = None;
        manifest.aws = Some(format!("registry_endpoint = \"{}\"", moto.registry.url()));
        let word = |name: &str| made[name].as_str().expect("moto has a network").to_owned();
        manifest.subnet = word("subnet");
        manifest.security_group = word("security_group");
        manifest.extra_secrets = vec!["retired".to_owned()];
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let on_moto = Self {
            deployer: Deployer::new(&prepared.binary, folder.path(), environment),
            manifest,
            recorder,
            prepared,
            folder,
            _moto: moto,
        };
        on_moto.write();
        on_moto
    }

    fn write(&self) {
        let file = self.folder.path().join("deployer.toml");
        std::fs::write(file, self.manifest.text()).expect("the manifest can be written");
    }

    #[track_caller]
    fn apply(&self) -> Finished {
        self.deployer
            .run(&["apply", "--yes", "--detach"])
            .exits(exit::SUCCESS)
    }

    #[track_caller]
    fn plan(&self) -> Value {
        self.deployer
            .run(&["plan", "--json"])
            .exits(exit::SUCCESS)
            .json()
    }

    #[track_caller]
    fn assert_settled(&self) {
        let mark = self.recorder.mark();
        let plan = self.plan();
        assert_eq!(plan["empty"], true, "{plan:#}");
        self.apply();
        assert_eq!(mark.writes(), Vec::<String>::new());
    }

    #[track_caller]
    fn revision(&self) -> Value {
        let status = self.deployer.run(&["status", "--json"]);
        status.json()[0]["serving"]["wanted"].clone()
    }
}

#[test]
fn a_service_lives_its_life_on_moto() {
    let Some(prepared) = Prepared::find("a_service_lives_its_life_on_moto") else {
        return;
    };
    let mut on_moto = OnMoto::start(prepared);
    assert!(on_moto.plan()["counts"]["create"].as_u64() > Some(5));
    on_moto.apply();
    on_moto.assert_settled();
    let first = on_moto.revision();

    on_moto.manifest.image = on_moto.prepared.image("2.0.0");
    on_moto.write();
    on_moto.apply();
    on_moto.assert_settled();
    let second = on_moto.revision();
    assert_ne!(first, second, "a new version is a new task definition");

    on_moto.deployer = on_moto
        .deployer
        .with("IDP_CLIENT_SECRET", "the second secret");
    on_moto.apply();
    on_moto.assert_settled();
    assert_ne!(
        second,
        on_moto.revision(),
        "a new secret version is a new task definition"
    );

    on_moto.manifest.extra_secrets.clear();
    on_moto.write();
    assert_eq!(on_moto.plan()["counts"]["delete"], json!(1));
    // The roll-out that this apply does not wait for would need the secret if ECS rolled it back.
    on_moto.apply();
    assert_eq!(on_moto.plan()["counts"]["delete"], json!(1));
    on_moto.apply();
    on_moto.assert_settled();

    on_moto
        .deployer
        .run(&["destroy", "--yes"])
        .exits(exit::SUCCESS);
    assert_eq!(
        on_moto.deployer.run(&["status", "--json"]).json()[0]["serving"],
        json!(null)
    );
    on_moto.apply();
    on_moto.assert_settled();
    // Requests only: what moto answers is not ours to judge.
    python::assert_requests_valid(&on_moto.prepared, &on_moto.recorder, Side::Aws);
}
