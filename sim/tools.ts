/** What `dwcp sim` needs; the tripwires first. */
import './tripwires.ts';

export { type CampaignOptions, type CampaignSummary, runCampaign } from './campaign/campaign.ts';
export { loadScenario, scenarios } from './campaign/registry.ts';
export { reportOf, type SeedReport } from './campaign/seed-run.ts';
export { checkHistory } from './history-file.ts';
export type { Bug } from './museum/bug.ts';
export { bugs } from './museum/bugs.ts';
export { type BugReport, type MuseumSummary, runMuseum } from './museum/museum.ts';
export { parseReplay, type Replay, recordReplay, runReplay } from './replay.ts';
export { shrink } from './shrink.ts';
export { toPlain } from './world/plain.ts';
