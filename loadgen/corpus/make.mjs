// Makes `github-events.ndjson.gz`, the recorded input of the load generator and of the demo.
//
//   node make.mjs <path to api.github.com/index.json of @octokit/webhooks-examples 7.6.1> [output file]
//
// One line per example payload: {"event","action","channel","kind","payload"}. The same input gives the
// same bytes with the same version of node; NOTICE says where the data comes from and what it cannot show.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const LINES_EXPECTED = 329;
const REDACTED_ADDRESS = 'redacted@example.com';

function main([source, target = fileURLToPath(new URL('github-events.ndjson.gz', import.meta.url))]) {
  if (source === undefined) throw new Error('usage: node make.mjs <index.json> [output file]');
  const entries = JSON.parse(readFileSync(source, 'utf8'));
  const lines = entries.flatMap(({ name, examples }) => examples.map((payload) => line(name, payload)));
  if (lines.length !== LINES_EXPECTED) throw new Error(`expected ${LINES_EXPECTED} payloads, found ${lines.length}`);
  const packed = pack(lines.join('\n') + '\n');
  writeFileSync(target, packed);
  console.log(`${lines.length} lines, ${packed.length} bytes compressed`);
}

function line(event, payload) {
  const action = payload.action ?? null;
  return redact(JSON.stringify({ event, action, channel: channel(event, payload), kind: kind(event, payload), payload }));
}

/** The repository if the payload names one, else whoever it is about, else the stream of its event. */
function channel(event, { repository, organization, sender }) {
  if (repository?.full_name) return `repo:${repository.full_name.split('/').map(clean).join('/')}`;
  if (organization?.login) return `org:${clean(organization.login)}`;
  if (sender?.login) return `user:${clean(sender.login)}`;
  return `github:${clean(event)}`;
}

function clean(name) {
  return name.replace(/[^A-Za-z0-9_.-]+/g, '-');
}

/** The built-in kind where one fits, else `github.<event>[.<action>]`. */
function kind(event, payload) {
  const rule = KINDS[event];
  const builtIn = typeof rule === 'function' ? rule(payload) : (rule?.[payload.action] ?? rule?.other);
  return builtIn ?? custom(event, payload.action);
}

function custom(event, action) {
  return ['github', event, action].filter(Boolean).join('.').toLowerCase().replace(/[^a-z0-9_.-]/g, '_');
}

/** Every address goes that is not plainly a machine's or an example's: the data needs no personal ones. */
function redact(text) {
  return text.replace(/[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}/g, (address) => {
    const domain = address.slice(address.indexOf('@') + 1).toLowerCase();
    return KEPT_DOMAINS.some((kept) => domain === kept || domain.endsWith(`.${kept}`)) ? address : REDACTED_ADDRESS;
  });
}

/** Time and operating system stay out of the gzip header, or two runs would differ. */
function pack(text) {
  const packed = gzipSync(text, { level: 9 });
  packed.fill(0, 4, 8);
  packed[9] = 255;
  return packed;
}

const KEPT_DOMAINS = ['github.com', 'example.com', 'example.org', 'example.net'];

/** A table of actions (`other` for the rest), or a function where the action does not decide. */
const KINDS = {
  push: () => 'push',
  create: ({ ref_type }) => ({ branch: 'branch_created', tag: 'tag_created' })[ref_type],
  delete: ({ ref_type }) => ({ branch: 'branch_deleted', tag: 'tag_deleted' })[ref_type],
  pull_request: ({ action, pull_request }) => {
    if (action === 'closed' && pull_request.merged) return 'pr_merged';
    return ({ opened: 'pr_opened', closed: 'pr_closed', reopened: 'pr_reopened' })[action] ?? 'pr_updated';
  },
  pull_request_review: () => 'pr_review',
  pull_request_review_comment: () => 'pr_comment',
  issues: {
    opened: 'issue_opened',
    closed: 'issue_closed',
    reopened: 'issue_reopened',
    labeled: 'label_added',
    unlabeled: 'label_removed',
    other: 'issue_updated',
  },
  issue_comment: ({ issue }) => (issue.pull_request ? 'pr_comment' : 'issue_comment'),
  repository: { created: 'repo_created', other: 'repo_updated' },
  fork: () => 'repo_created',
  star: () => 'repo_updated',
  watch: () => 'repo_updated',
  member: { added: 'collaborator_added', removed: 'collaborator_removed' },
  workflow_run: {
    requested: 'workflow_run_requested',
    in_progress: 'workflow_run_in_progress',
    completed: 'workflow_run_completed',
  },
  workflow_job: {
    queued: 'workflow_job_queued',
    in_progress: 'workflow_job_in_progress',
    completed: 'workflow_job_completed',
  },
  check_run: { created: 'check_run_created', completed: 'check_run_completed' },
};

main(process.argv.slice(2));
