/** The manifests: against Kubernetes' own schemas, strictly, and against each other. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DaemonSet } from "kubernetes-models/apps/v1/DaemonSet";
import { Role } from "kubernetes-models/rbac.authorization.k8s.io/v1/Role";
import { RoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1/RoleBinding";
import { Namespace } from "kubernetes-models/v1/Namespace";
import { ServiceAccount } from "kubernetes-models/v1/ServiceAccount";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";

const DIRECTORY = fileURLToPath(new URL("../../deploy/kubernetes/", import.meta.url));

const KINDS = { DaemonSet, Namespace, Role, RoleBinding, ServiceAccount };
const head = v.looseObject({
  apiVersion: v.string(),
  kind: v.picklist(["DaemonSet", "Namespace", "Role", "RoleBinding", "ServiceAccount"]),
});

/**
 * What of `data` its schema does not know. The schemas let unknown fields pass, as Kubernetes itself would drop them in
 * silence; a validator asks for each field that it knows, so what it never asked for is none.
 *
 * @throws what the schema says against it.
 */
function unknownFields(kind: keyof typeof KINDS, data: Readonly<Record<string, unknown>>): readonly string[] {
  const unasked = new Set<string>();
  const watch = (value: unknown, path: string): unknown => {
    if (typeof value !== "object" || value === null) return value;
    const children = new Map(
      Object.entries(value).map(([key, child]) => [key, watch(child, `${path}/${key}`)]),
    );
    for (const key of children.keys()) unasked.add(`${path}/${key}`);
    return new Proxy(value, {
      get: (target, key, receiver): unknown => {
        if (typeof key === "string") unasked.delete(`${path}/${key}`);
        return typeof key === "string" && children.has(key)
          ? children.get(key)
          : Reflect.get(target, key, receiver);
      },
    });
  };
  const prototype: { validate: () => void } = KINDS[kind].prototype;
  prototype.validate.call(watch(data, ""));
  return [...unasked].filter((path) => path !== "/apiVersion" && path !== "/kind");
}

async function documents(file: string): Promise<readonly v.InferOutput<typeof head>[]> {
  const text = await readFile(join(DIRECTORY, file), "utf8");
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return v.parse(head, document.toJS());
  });
}

const manifests = ["namespace.yaml", "rbac.yaml", "daemonset.yaml"];
const all = (await Promise.all(manifests.map(documents))).flat();

describe.each(all)("$kind", (manifest) => {
  test("has what its schema wants, and nothing that its schema does not know", () => {
    expect(unknownFields(manifest.kind, manifest)).toEqual([]);
  });
});

describe("the schemas", () => {
  const daemonSet = all.find(({ kind }) => kind === "DaemonSet")!;
  const changed = (from: string, to: string): Readonly<Record<string, unknown>> => {
    const text = JSON.stringify(daemonSet);
    expect(text).toContain(from);
    return v.parse(head, JSON.parse(text.replace(from, to)));
  };

  test.each([
    ['"hostPID":true', '"hostPid":true', "/spec/template/spec/hostPid"],
    ['"add":["SYS', '"ad":["SYS', "/spec/template/spec/containers/0/securityContext/capabilities/ad"],
  ])("know no field of another name: %s as %s", (from, to, path) => {
    expect(unknownFields("DaemonSet", changed(from, to))).toContain(path);
  });

  test.each([
    ['"hostPID":true', '"hostPID":"yes"', "hostPID must be boolean"],
    ['"selector":', '"selektor":', "selector"],
    ['"containerPort":9807', '"containerPort":"http"', "containerPort must be integer"],
  ])("refuse another type: %s as %s", (from, to, words) => {
    expect(() => unknownFields("DaemonSet", changed(from, to))).toThrow(words);
  });
});

const daemonSetFile = v.object({
  spec: v.object({
    selector: v.object({ matchLabels: v.record(v.string(), v.string()) }),
    template: v.object({
      metadata: v.object({
        labels: v.record(v.string(), v.string()),
        annotations: v.record(v.string(), v.string()),
      }),
      spec: v.object({
        serviceAccountName: v.string(),
        containers: v.tuple([
          v.object({
            image: v.string(),
            args: v.array(v.string()),
            env: v.array(v.object({ name: v.string(), value: v.optional(v.string()) })),
            ports: v.array(v.object({ name: v.string(), containerPort: v.number() })),
            livenessProbe: v.object({ httpGet: v.object({ path: v.string(), port: v.string() }) }),
            readinessProbe: v.object({ httpGet: v.object({ path: v.string(), port: v.string() }) }),
            securityContext: v.object({ capabilities: v.object({ add: v.array(v.string()) }) }),
            volumeMounts: v.array(
              v.object({ name: v.string(), mountPath: v.string(), readOnly: v.optional(v.boolean()) }),
            ),
          }),
        ]),
        volumes: v.array(
          v.object({
            name: v.string(),
            hostPath: v.optional(v.object({ path: v.string() })),
            configMap: v.optional(v.object({ name: v.string() })),
          }),
        ),
      }),
    }),
  }),
});

describe("taken together", async () => {
  const { spec } = v.parse(
    daemonSetFile,
    all.find(({ kind }) => kind === "DaemonSet"),
  );
  const pod = spec.template.spec;
  const [container] = pod.containers;
  const kustomization = v.parse(
    v.object({
      namespace: v.string(),
      resources: v.array(v.string()),
      configMapGenerator: v.tuple([v.object({ name: v.string(), files: v.array(v.string()) })]),
      images: v.tuple([v.object({ name: v.string(), newTag: v.string() })]),
    }),
    parse(await readFile(join(DIRECTORY, "kustomization.yaml"), "utf8")),
  );
  const named = (kind: string): readonly unknown[] =>
    all
      .filter((each) => each.kind === kind)
      .map((each) => v.parse(v.looseObject({ name: v.string() }), each["metadata"]).name);

  test("the kustomization has every manifest, and nothing that is not there", async () => {
    expect([...kustomization.resources].sort()).toEqual([...manifests].sort());
    const files = await readdir(DIRECTORY);
    expect(files.filter((name) => name.endsWith(".yaml")).sort()).toEqual(
      [...manifests, "kustomization.yaml"].sort(),
    );
    for (const name of kustomization.configMapGenerator[0].files) expect(files).toContain(name);
    expect(named("Namespace")).toEqual([kustomization.namespace]);
  });

  test("names that are used are names that are given", () => {
    expect(named("ServiceAccount")).toContain(pod.serviceAccountName);
    expect(spec.template.metadata.labels).toMatchObject(spec.selector.matchLabels);
    const [image, tag] = container.image.split(":");
    expect(kustomization.images).toEqual([{ name: image, newTag: tag }]);
    const volumes = new Map(pod.volumes.map((volume) => [volume.name, volume]));
    expect(container.volumeMounts.map(({ name }) => name).sort()).toEqual([...volumes.keys()].sort());
    expect(volumes.get("config")?.configMap?.name).toBe(kustomization.configMapGenerator[0].name);
    const ports = container.ports.map(({ name }) => name);
    for (const probe of [container.livenessProbe, container.readinessProbe])
      expect(ports).toContain(probe.httpGet.port);
    expect(container.livenessProbe.httpGet.path).toBe("/healthz");
    expect(container.readinessProbe.httpGet.path).toBe("/readyz");
    expect(spec.template.metadata.annotations["prometheus.io/port"]).toBe(
      String(container.ports[0]?.containerPort),
    );
    expect(container.args.at(-1)).toBe(`$(HOST_IP):${container.ports[0]?.containerPort}`);
  });

  test("what QEMU and host programs have to find is at the same path inside and outside", () => {
    const mounts = new Map(container.volumeMounts.map((mount) => [mount.name, mount]));
    const shared = pod.volumes.flatMap(({ name, hostPath }) =>
      hostPath ? [{ name, path: hostPath.path }] : [],
    );
    for (const { name, path } of shared) expect(mounts.get(name)?.mountPath).toBe(path);
    const temporary = container.env.find(({ name }) => name === "TMPDIR")?.value;
    expect(mounts.get("memory")).toEqual({ name: "memory", mountPath: temporary });
  });

  test("it has the capabilities of the systemd unit, and no others", async () => {
    const unit = await readFile(
      new URL("../../deploy/systemd/kdump-hotplug.service", import.meta.url),
      "utf8",
    );
    const [, bounding = ""] = /^CapabilityBoundingSet=(.+)$/m.exec(unit) ?? [];
    expect(container.securityContext.capabilities.add.map((name) => `CAP_${name}`).sort()).toEqual(
      bounding.split(" ").sort(),
    );
  });

  test("its configuration looks only where something is mounted", async () => {
    const text = await readFile(join(DIRECTORY, "keep.json"), "utf8");
    const { targets, journal } = v.parse(
      v.strictObject({ targets: v.array(v.string()), journal: v.strictObject({ directory: v.string() }) }),
      JSON.parse(text),
    );
    const paths = [...targets.map((target) => target.replace(/^qmp:/, "")), journal.directory];
    for (const path of paths)
      expect(container.volumeMounts.some(({ mountPath }) => path.startsWith(`${mountPath}/`))).toBe(true);
  });
});
