//! A cluster that runs already: where its nodes listen, and the program that controls it.
//!
//! In: the folder that `entente init` wrote for the nodes, and a program whose arguments are orders, such
//! as `kill router r1` or `reload`. Out: doors and names, and what the program said.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;

/// Why a cluster is not found or does not obey.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The configuration cannot be read.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The configuration is not one of a cluster.
    #[error("{file}: {why}")]
    Config {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The program cannot be run.
    #[error("{program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The program failed.
    #[error("{order}: {said}")]
    Refused {
        /// What it was told.
        order: String,
        /// What it said.
        said: String,
    },
}

/// Where the nodes of a cluster are, as its configuration says.
#[derive(Clone, Debug, Deserialize)]
pub struct Layout {
    /// What stands behind the `@`.
    pub domain: String,
    mesh: Mesh,
}

#[derive(Clone, Debug, Deserialize)]
struct Mesh {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Deserialize)]
struct Node {
    role: String,
    name: String,
    xmpp: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

impl Layout {
    /// Reads the configuration in the cluster's folder.
    ///
    /// # Errors
    /// [`ClusterError::File`]; [`ClusterError::Config`] if clients could not enter by it.
    pub fn read(folder: &Path) -> Result<Self, ClusterError> {
        let path = folder.join("entente.toml");
        let file = path.display().to_string();
        let text = fs::read_to_string(&path).map_err(|source| ClusterError::File {
            file: file.clone(),
            source,
        })?;
        let wrong = |why: &str| ClusterError::Config {
            file: file.clone(),
            why: why.to_owned(),
        };
        let layout: Self = toml::from_str(&text).map_err(|error| wrong(error.message()))?;
        if layout.xmpp().is_empty() || layout.enlistment().is_none() {
            return Err(wrong(
                "a cluster has `xmpp` at a node, and `http` at an identity node",
            ));
        }
        Ok(layout)
    }

    /// The XMPP doors, one of each connection node.
    pub fn xmpp(&self) -> Vec<SocketAddr> {
        self.mesh
            .nodes
            .iter()
            .filter_map(|node| node.xmpp)
            .collect()
    }

    /// The HTTPS door of an identity node.
    pub fn enlistment(&self) -> Option<SocketAddr> {
        let of_identity = self
            .mesh
            .nodes
            .iter()
            .filter(|node| node.role == "identity");
        of_identity.filter_map(|node| node.http).next()
    }

    /// The names of the nodes of a role, in the order of the configuration.
    pub fn names(&self, role: &str) -> Vec<&str> {
        let of_role = self.mesh.nodes.iter().filter(|node| node.role == role);
        of_role.map(|node| node.name.as_str()).collect()
    }
}

/// The program that controls a cluster.
#[derive(Clone, Debug)]
pub struct Control(PathBuf);

impl Control {
    /// A program that is run for each order.
    pub const fn new(program: PathBuf) -> Self {
        Self(program)
    }

    /// Gives an order and waits until it is done; what the program wrote. Dropping the future ends the
    /// program, not what it started.
    ///
    /// # Errors
    /// [`ClusterError::Program`] and [`ClusterError::Refused`].
    pub async fn order(&self, order: &[&str]) -> Result<String, ClusterError> {
        let run = Command::new(&self.0)
            .args(order)
            .kill_on_drop(true)
            .output();
        let output = run.await.map_err(|source| ClusterError::Program {
            program: self.0.display().to_string(),
            source,
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(ClusterError::Refused {
            order: order.join(" "),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: &str, name: &str, more: &str) -> String {
        format!("[[mesh.nodes]]\nrole = \"{role}\"\nname = \"{name}\"\naddress = \"a:1\"\n{more}\n")
    }

    #[test]
    fn doors_and_names_are_read_and_what_is_no_cluster_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |nodes: &[String]| {
            let text = format!("domain = \"a.test\"\n{}", nodes.concat());
            fs::write(folder.path().join("entente.toml"), text).unwrap();
        };
        let nodes = [
            node("connection", "c1", "xmpp = \"127.0.0.1:1\""),
            node("connection", "c2", "xmpp = \"127.0.0.1:2\""),
            node("identity", "i1", "http = \"127.0.0.1:3\""),
        ];
        write(&nodes);
        let layout = Layout::read(folder.path()).unwrap();
        assert_eq!((layout.xmpp().len(), &*layout.domain), (2, "a.test"));
        assert_eq!(layout.enlistment().unwrap().port(), 3);
        assert_eq!(layout.names("connection"), ["c1", "c2"]);
        assert!(layout.names("router").is_empty());
        for part in [&nodes[..2], &nodes[2..]] {
            write(part);
            let error = Layout::read(folder.path()).unwrap_err();
            assert!(matches!(error, ClusterError::Config { .. }), "{error}");
        }
        let missing = Layout::read(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("entente.toml"), "{missing}");
    }

    #[tokio::test]
    async fn what_the_program_says_is_told() {
        let echo = Control::new("/bin/echo".into());
        assert_eq!(
            echo.order(&["kill", "router"]).await.unwrap(),
            "kill router\n"
        );
        let cat = Control::new("/bin/cat".into());
        let error = cat.order(&["/nothing", "there"]).await.unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("/nothing there: "), "{error}");
        let none = Control::new("/nothing".into())
            .order(&[])
            .await
            .unwrap_err();
        assert!(matches!(none, ClusterError::Program { .. }), "{none}");
    }
}
